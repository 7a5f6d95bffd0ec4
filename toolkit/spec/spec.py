"""The whole spec, and the rules that hold across its sections."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from toolkit.spec.data import Data
from toolkit.spec.model import Model
from toolkit.spec.objective import Objective
from toolkit.spec.run import Run
from toolkit.spec.section import Allowed, Conflict, Section
from toolkit.spec.train import Train

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[
    str,
    Field(pattern=NAME_PATTERN),
    Allowed('text in quotes: at most 64 of a-z, 0-9, ".", "_" and "-", the first a letter or digit'),
]


class Spec(Section):
    """A pretraining job: data, model, objective, recipe, and how to run it."""

    name: Name
    """Folder of the runs: `runs/NAME/STAGE`."""
    description: str = ""
    """What the run is for, in your own words."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """Everything random follows from it: weights, order of the data, dropout."""
    data: Data = Data()
    model: Model
    objective: Objective
    train: Train
    run: Run = Run()

    def conflicts(self) -> Iterator[Conflict]:
        rows = self.data.sequence_length
        limit = self.model.max_sequence_length
        if limit is not None and rows > limit:
            yield Conflict(
                ("data.sequence_length", "model.max_sequence_length"),
                f"{rows} is longer than model.max_sequence_length = {limit}.",
            )
        batch = self.train.batch
        if batch.unit == "tokens" and batch.value < rows:
            yield Conflict(
                ("train.batch", "data.sequence_length"),
                f'"{batch}" is less than one row of data.sequence_length = {rows} tokens.',
            )
