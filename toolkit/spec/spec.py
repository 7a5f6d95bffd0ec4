"""The whole spec, and the rules that hold across its sections."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from toolkit.spec.data import Data
from toolkit.spec.model import Model
from toolkit.spec.objective import Objective
from toolkit.spec.run import Run
from toolkit.spec.section import Section
from toolkit.spec.train import Train

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class Spec(Section):
    """A pretraining job: data, model, objective, recipe, and how to run it."""

    name: Name
    """Folder of the runs: `runs/NAME/STAGE`."""
    description: str = ""
    seed: int = Field(default=1, ge=0, lt=2**63)
    data: Data = Data()
    model: Model
    objective: Objective
    train: Train
    run: Run = Run()

    def cross_section_problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """What is wrong between sections, as (key path, message)."""
        limit = self.model.max_sequence_length
        if limit is not None and self.data.sequence_length > limit:
            yield (
                ("data", "sequence_length"),
                f"{self.data.sequence_length} is longer than model.max_sequence_length = {limit}.",
            )
        batch = self.train.batch
        if batch.unit == "tokens" and batch.value < self.data.sequence_length:
            yield (
                ("train", "batch"),
                f'"{batch}" is less than one row: data.sequence_length is {self.data.sequence_length} tokens.',
            )
