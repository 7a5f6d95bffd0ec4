"""What differs between two specs, and whether it changes the result."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

NOT_IDENTITY = ("name", "description", "run")
"""Top-level keys that say what a run is called and how it runs, not what comes out of it."""


def changes_identity(key: str) -> bool:
    """Whether a dotted key is part of the fingerprint. How documents of a source travel is not, nor what is
    done with rows that can't be read."""
    steps = key.split(".")
    if steps[0] in NOT_IDENTITY or steps[-1] == "on_bad_row":
        return False
    return not (steps[0] == "data" and steps[-1] == "streaming")


class Change(NamedTuple):
    """A key whose value differs. None stands for a key that is absent or left open."""

    key: str
    before: Any
    after: Any
    identity: bool
    """Whether the fingerprint changes with it."""


def diff_specs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Compare two dumped specs or plans, key by key, in the order of `after`."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        Change(key, old.get(key), new.get(key), changes_identity(key))
        for key in [*new, *(key for key in old if key not in new)]
        if old.get(key) != new.get(key)
    ]


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    items: Iterator[tuple[Any, Any]] | None = None
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        items = enumerate(value)
    if items is None:
        yield key, list(value) if isinstance(value, tuple) else value
    else:
        for name, item in items:
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
