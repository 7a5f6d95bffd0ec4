"""What a user types to choose runs or metrics: patterns, and comparisons of values."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tui.watched import Watched

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_TERM = re.compile(r"(!?)([\w./ -]+?)(<=|>=|!=|==|<|>|=|~)(.+)")


class BadFilter(ValueError):  # noqa: N818 - named as the store names its own
    """A filter that can't be understood, in words."""


@dataclass(frozen=True)
class RunFilter:
    """Terms that must all hold: `gpt !short val/loss<2 spec.model.n_layers>=6 state=running`.

    A word is a regular expression for the name, `!` turns a term round, `KEY~WORD` searches a value. KEY is
    a metric, `best`, `loss`, `step`, `state`, `name`, `parent` or `spec.…`.
    """

    text: str = ""

    def __post_init__(self) -> None:
        for term in self.text.split():
            _compile(term)

    @property
    def keys(self) -> list[str]:
        """The keys that its terms compare."""
        found = (_TERM.fullmatch(term) for term in self.text.split())
        return [match[2] for match in found if match]

    def __call__(self, run: Watched) -> bool:
        return all(_compile(term)(run) for term in self.text.split())


def match_names(text: str, names: list[str]) -> list[str]:
    """The names in which all patterns are found; `!` before one turns it round. Raises BadFilter."""
    kept = names
    for term in text.split():
        turned = term.startswith("!")
        pattern = _pattern(term.removeprefix("!"))
        kept = [name for name in kept if bool(pattern.search(name)) != turned]
    return kept


def look_up(run: Watched, key: str) -> Any:
    """A run's value for a key of a filter or of a sort; None where it has none."""
    if key == "state":
        return run.health.condition
    if key in ("name", "parent", "step", "loss"):
        return getattr(run, key)
    if key in ("best", "val"):
        return run.best[0] if run.best else None
    if key.startswith(("spec.", "cfg.")):
        value: Any = run.spec
        for part in key.split(".")[1:]:
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value
    if key == "progress":
        return run.step / run.steps if run.step is not None and run.steps else None
    return run.last(key)


def _compile(term: str) -> Callable[[Watched], bool]:
    match = _TERM.fullmatch(term)
    if match is None:
        turned = term.startswith("!")
        pattern = _pattern(term.removeprefix("!"))
        return lambda run: bool(pattern.search(run.name)) != turned
    no, key, sign, wanted = match.groups()
    if sign == "~":
        searched = _pattern(wanted)
        return lambda run: bool(searched.search(str(look_up(run, key)))) != bool(no)
    return lambda run: _holds(look_up(run, key), sign, wanted) != bool(no)


def _holds(value: Any, sign: str, wanted: str) -> bool:
    if value is None:
        return False
    try:
        if not isinstance(value, bool):
            return COMPARE[sign](float(value), float(wanted))
    except (TypeError, ValueError):
        pass
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return COMPARE[sign](text, wanted)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise BadFilter(f"{text!r} is no pattern: {error}") from error
