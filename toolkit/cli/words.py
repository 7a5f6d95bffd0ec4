"""Differences between specs, in lines."""

import json
from collections.abc import Mapping
from typing import Any

from toolkit.spec.diff import Change, diff_specs
from toolkit.store.text import sanitize

OPEN = "open"
"""A key that is absent, or left to its default."""


def changes(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    only_identity: bool = False,
    stage: str | None = None,
) -> list[str]:
    """A line for each key that differs; those that change the result are marked with a star.

    With `stage`, keys of other stages are left out.
    """
    if not before:
        return []
    found = [change for change in diff_specs(before, after) if change.identity or not only_identity]
    if stage is not None:
        found = [change for change in found if concerns(change.key, stage)]
    return [line(change) for change in found]


def concerns(key: str, stage: str) -> bool:
    """Whether a dotted key has to do with a stage: a table of its own, or one that all have."""
    steps = key.split(".")
    return steps[0] != "finetune" or steps[1:2] == [stage]


def line(change: Change) -> str:
    """`* train.duration: "8M tokens" -> "2M tokens"`."""
    mark = "*" if change.identity else " "
    return sanitize(f"{mark} {change.key}: {value(change.before)} -> {value(change.after)}")


def value(item: Any) -> str:
    """A value as JSON and TOML write it."""
    return OPEN if item is None else json.dumps(item, ensure_ascii=False)
