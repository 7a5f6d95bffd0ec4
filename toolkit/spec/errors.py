"""What is wrong with a spec, in the words a user reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Problem:
    """One mistake. `line` and `column` count characters from 1; 0 where there is no text to point at."""

    file: str
    """Path as the user gave it, or the override."""
    line: int
    column: int
    key: str
    """Dotted path of the key; empty where the mistake is not about one."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        what = f"{_short(self.key, 100)}: {self.message}" if self.key else self.message
        return printable(f"{place}  {_short(what, 500)}")


class SpecErrors(ValueError):  # noqa: N818 - it holds several
    """Every mistake found in a spec, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems]
        return "\n".join([*lines, f"{count} error{'s' if count != 1 else ''}. Nothing was run."])


def printable(text: str) -> str:
    """`text` with control and formatting characters as escapes, so that no terminal obeys them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def listing(names: Iterable[str], word: str = "or") -> str:
    """`a, b or c`."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def nearest(name: str, known: Iterable[object]) -> str | None:
    """The known name that `name` was probably meant to be; what is no name among them is left out."""
    if len(name) > 64:
        return None
    spellings = {other.casefold(): other for other in known if isinstance(other, str)}
    near = get_close_matches(name.casefold().replace("-", "_"), spellings, n=1, cutoff=0.6)
    return spellings[near[0]] if near else None


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shown(value: object) -> str:
    """A value as TOML writes it, shortened where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return f'"{_short(value, 80)}"' if isinstance(value, str) else _short(str(value), 80)
