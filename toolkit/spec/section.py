"""The base of every section: unknown keys are errors, values are frozen, docstrings are descriptions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

GATHER = "gather"
"""Validation context that leaves conflicts to the caller, who collects them from `Section.conflicts`."""


class Conflict(NamedTuple):
    """Values that are right one by one and don't go together."""

    keys: tuple[str, ...]
    """Dotted keys that take part, relative to the section; the first is the one an error points at."""
    message: str


@dataclass(frozen=True)
class Allowed:
    """Put in a field's `Annotated`: what may stand there, in words, where a pattern says it badly."""

    words: str


class Section(BaseModel):
    """One table of a spec. Field docstrings become the descriptions in the JSON schema and in `tk new`."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    def conflicts(self) -> Iterator[Conflict]:
        """Rules over several keys that don't hold. Sections with such rules override this."""
        yield from ()

    @model_validator(mode="after")
    def _values_agree(self, info: ValidationInfo) -> Self:
        if info.context != GATHER:
            messages = [f"{conflict.keys[0]}: {conflict.message}" for conflict in self.conflicts()]
            if messages:
                raise ValueError(" ".join(messages))
        return self
