"""The whole spec, and the rules that hold across its sections."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from toolkit.spec.data import Data
from toolkit.spec.model import Model
from toolkit.spec.objective import Objective
from toolkit.spec.run import Run
from toolkit.spec.section import Allowed, Conflict, Section
from toolkit.spec.target import Finetune
from toolkit.spec.together import completed_data, completed_objective, disagreements, under_root
from toolkit.spec.train import Train

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Name = Annotated[
    str,
    Field(pattern=NAME_PATTERN),
    Allowed('text in quotes: at most 64 of a-z, 0-9, ".", "_" and "-", the first a letter or digit'),
]
PRETRAIN = "pretrain"
"""The stage that `[data]`, `[model]`, `[objective]` and `[train]` describe."""
PRETRAINING = ("model", "objective", "train")
"""Tables that a spec needs unless it names a parent."""


class Spec(Section):
    """A pretraining job, fine-tunes of it or of another parent, and how to run them."""

    name: Name
    """Folder of the runs: `runs/NAME/STAGE`."""
    description: str = ""
    """What the run is for, in your own words."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """Everything random follows from it: weights, order of the data, dropout."""
    parent: str | None = None
    """In place of a pretraining: the checkpoint that the fine-tunes start from. A spec, a run
    (`gpt_small/pretrain@best`), or a Hugging Face folder or name (`hf:PATH`). A spec is looked for in the folder of
    this one, then in the working folder."""
    data: Data = Data()
    model: Model | None = None
    objective: Objective | None = None
    train: Train | None = None
    run: Run = Run()
    finetune: Mapping[str, Finetune] = Field(default_factory=dict)
    """Fine-tune targets, by the name of their stage."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        # In place, as the value under validation can't be replaced by another.
        data, finetune = under_root(self.data, self.finetune)
        object.__setattr__(self, "finetune", finetune)
        object.__setattr__(self, "data", completed_data(data, self.objective))
        object.__setattr__(self, "objective", completed_objective(self.objective, self.data))
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages; a parent within the spec stands before its children."""
        own = () if self.parent is not None else (PRETRAIN,)
        ordered: list[str] = []
        waiting = list(self.finetune)
        while waiting:
            ready = [name for name in waiting if self.finetune[name].parent not in waiting]
            ordered += ready or waiting  # a circle is an error of its own
            waiting = [name for name in waiting if name not in ordered]
        return (*own, *ordered)

    def conflicts(self) -> Iterator[Conflict]:
        if self.parent is None:
            for key in PRETRAINING:
                if getattr(self, key) is None:
                    yield Conflict((key,), "missing. A spec needs it, or else a parent.")
            if not self.data.sources:
                yield Conflict(("data.sources",), "must hold at least 1 of them, not 0.")
        else:
            for key in PRETRAINING:
                if getattr(self, key) is not None:
                    yield Conflict(
                        (key, "parent"),
                        f"a spec with parent = {self.parent!r} is not pretrained. Leave out one of them.",
                    )
            if not self.finetune:
                yield Conflict(("parent",), "a parent alone trains nothing. Add a [finetune.NAME] table.")
        yield from disagreements(self)
        yield from self._lengths()
        yield from self._stages()

    def _lengths(self) -> Iterator[Conflict]:
        rows = self.data.sequence_length
        if self.data.modality != "text":
            return
        limit = getattr(self.model, "max_sequence_length", None)
        if limit is not None and rows > limit:
            yield Conflict(
                ("data.sequence_length", "model.max_sequence_length"),
                f"{rows} is longer than model.max_sequence_length = {limit}.",
            )
        batch = self.train.batch if self.train else None
        if batch is not None and batch.unit == "tokens" and batch.value < rows:
            yield Conflict(
                ("train.batch", "data.sequence_length"),
                f'"{batch}" is less than one row of data.sequence_length = {rows} tokens.',
            )

    def _stages(self) -> Iterator[Conflict]:
        for name, target in self.finetune.items():
            if name == PRETRAIN or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
                yield Conflict(
                    ("finetune",),
                    f"{name!r} can't name a stage. Use at most 64 of a-z, 0-9, _ and -, and not {PRETRAIN}.",
                )
            seen = [name]
            above = target.parent
            while above is not None and above in self.finetune:
                if above in seen:
                    yield Conflict(
                        (f"finetune.{name}.parent",), f"{' <- '.join([*seen, above])} is a circle."
                    )
                    break
                seen.append(above)
                above = self.finetune[above].parent
            if above == PRETRAIN and self.parent is not None:
                yield Conflict(
                    (f"finetune.{name}.parent", "parent"),
                    f"this spec has no {PRETRAIN} stage. Leave it out to start from parent = {self.parent!r}.",
                )
