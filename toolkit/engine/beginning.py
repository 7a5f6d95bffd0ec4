"""What the first rank tells the others before the training, as JSON."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from toolkit.plan.parent import Parent
from toolkit.plan.plan import Plan
from toolkit.store.errors import CorruptCheckpoint
from toolkit.store.manifest import Checkpoint, read_checkpoint


class Place(BaseModel):
    """Where a checkpoint is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    id: str

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        return cls(path=checkpoint.path, id=checkpoint.id)

    def read(self) -> Checkpoint:
        """Raises CorruptCheckpoint where another one, or none, is to be seen from here."""
        checkpoint = read_checkpoint(self.path)
        if checkpoint.id != self.id:
            raise CorruptCheckpoint(self.path, "is not the checkpoint that the first rank sees")
        return checkpoint


class Beginning(BaseModel):
    """What to carry out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Plan
    parent: Parent | None
    base: Place | None
    """The parent's checkpoint."""
    attempt: int

    @classmethod
    def of(cls, plan: Plan, parent: Parent | None, base: Checkpoint | None, attempt: int) -> Self:
        return cls(plan=plan, parent=parent, base=Place.of(base) if base else None, attempt=attempt)
