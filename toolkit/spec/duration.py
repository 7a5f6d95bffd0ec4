"""Quantities with a unit: `"8M tokens"`, `"64 rows"`, `"2 minutes"`.

Suffixes of numbers: k, M, B, T are powers of 1000; Ki, Mi, Gi, Ti powers of 1024.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_SUFFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SUFFIXES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_TEXT = re.compile(
    r"([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?)\s*([A-Za-z]*)(?:\s+(\S.*))?", re.ASCII
)
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}
_WHOLE = frozenset({"tokens", "steps", "samples", "rows"})
_LARGEST = 10**18


@dataclass(frozen=True)
class Quantity:
    """A number above zero and its unit. `str()` gives the shortest text that parses back equal."""

    value: int | float
    unit: str

    units: ClassVar[tuple[str, ...]] = ()
    """Known units, the common ones first."""
    common: ClassVar[int] = 0
    """How many of `units` an error lists; the rest are named when they are near to what was written."""
    synonyms: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        if self.unit not in self.units:
            raise ValueError(self._unknown_unit(f"{self.value} {self.unit}", self.unit))
        if not 0 < self.value <= _LARGEST:
            raise ValueError(f'"{self.value:.6g} {self.unit}" is not above zero and at most 1e18.')
        if self.value == int(self.value):
            object.__setattr__(self, "value", int(self.value))
        elif self.unit in _WHOLE:
            raise ValueError(f'"{self.value} {self.unit}" is not a whole number of {self.unit}.')

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `"NUMBER UNIT"`. Raises ValueError with what is wrong and which units are known."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'"{text}" is not a number and a unit. Write it like {cls.examples()}.')
        digits, suffix, unit = match.groups()
        if unit is None and suffix not in _SUFFIXES:
            suffix, unit = "", suffix
        if unit is None:
            raise ValueError(f'"{text}" has no unit. Write {cls._listing()} after the number.')
        if suffix not in _SUFFIXES:
            raise ValueError(
                f'"{text}" has no number I know: "{digits}{suffix}". Write k, M, B or T after it.'
            )
        number = Decimal(digits.replace("_", "")) * _SUFFIXES[suffix]
        canonical = cls._canonical(unit, number)
        if canonical is None:
            raise ValueError(cls._unknown_unit(text, unit))
        return cls(int(number) if number == number.to_integral_value() else float(number), canonical)

    def __str__(self) -> str:
        unit = self.unit[:-1] if self.value == 1 and self.unit.endswith("s") else self.unit
        if isinstance(self.value, int) and self.value >= 10_000:
            for suffix in ("T", "B", "M", "k"):
                size = _SUFFIXES[suffix]
                if self.value >= size and self.value % (size // 100) == 0:
                    return f"{Decimal(self.value) / size:f}{suffix} {unit}"
        return f"{self.value} {unit}"

    @classmethod
    def _canonical(cls, unit: str, number: Decimal) -> str | None:
        if number == 1 and unit + "s" in (*cls.units, *cls.synonyms):
            unit += "s"
        unit = cls.synonyms.get(unit, unit)
        return unit if unit in cls.units else None

    @classmethod
    def _listing(cls) -> str:
        *most, last = cls.units[: cls.common]
        return f"{', '.join(most)} or {last}"

    @classmethod
    def examples(cls) -> str:
        """Two texts that parse, in quotes, for errors and documentation."""
        return f'"16k {cls.units[0]}" or "500 {cls.units[1]}"'

    @classmethod
    def _unknown_unit(cls, text: str, unit: str) -> str:
        near = get_close_matches(unit, cls.units, n=1)
        hint = f" Did you mean {near[0]}?" if near and near[0] not in cls.units[: cls.common] else ""
        return f'"{text}" has no unit I know. Write {cls._listing()}.{hint}'

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        problem = f"{value} has no unit. " if number else ""
        raise ValueError(f"{problem}Write a number and a unit in quotes, like {cls.examples()}.")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        units = "|".join(
            re.escape(spelling)
            for unit in (*cls.units, *cls.synonyms)
            for spelling in (unit, unit.removesuffix("s"))
        )
        number = r"[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?"
        return {"type": "string", "pattern": rf"^\s*{number}\s*([kKMBT]|[KMGT]i)?\s*({units})\s*$"}


class TrainLength(Quantity):
    """How long to train: never a wall time, which would not be reproducible."""

    units = ("tokens", "steps", "epochs", "samples", "tokens/param")
    common = 3
    synonyms: ClassVar[dict[str, str]] = {"rows": "samples"}


class BatchSize(Quantity):
    """Size of the global batch."""

    units = ("tokens", "rows")
    common = 2
    synonyms: ClassVar[dict[str, str]] = {"samples": "rows"}


class Interval(Quantity):
    """How often something happens that doesn't change the result: times are allowed."""

    units = ("tokens", "steps", "epochs", "seconds", "minutes", "hours")
    common = 6

    @property
    def seconds(self) -> float | None:
        """Length in seconds, or None when the unit is not a time."""
        return self.value * _SECONDS[self.unit] if self.unit in _SECONDS else None
