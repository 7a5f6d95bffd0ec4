"""What a fine-tune starts from."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from toolkit.spec.data import Data
from toolkit.spec.model import Architecture


class ParentRecord(BaseModel):
    """The parent as a plan names it. `None` stands for what is not known before it is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    """NAME/STAGE."""
    selector: str | None = None
    """`best`, `last`, `step_500` or an id, as the spec asks; the last by default."""
    fingerprint: str
    """Of the parent's plan."""
    checkpoint: str | None = None
    """Id of the checkpoint."""
    step: int | None = None
    flops: float | None = None
    """Spent on it and on all it comes from."""

    def __str__(self) -> str:
        where = self.run if self.selector is None else f"{self.run}@{self.selector}"
        return where if self.step is None else f"{where} (step {self.step}, {(self.checkpoint or '')[:12]})"


@dataclass(frozen=True)
class Parent:
    """A parent with what its children inherit."""

    record: ParentRecord
    architecture: Architecture
    data: Data
    """How the trunk's inputs are made: the tokenizer, or the pictures' size."""
    task: str
    """Kind of the objective or target that it was trained for."""
    vocab_size: int
    reads_unhidden: bool = False
    """Whether its masked-language head learned from tokens that are not hidden, as far as is known."""
    data_fingerprint: str | None = None
