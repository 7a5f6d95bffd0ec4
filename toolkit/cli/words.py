"""Differences between specs, in lines."""

import json
from collections.abc import Mapping
from typing import Any

from toolkit.spec.diff import Change, diff_specs
from toolkit.store.text import sanitize

OPEN = "open"
"""A key that is absent, or left to its default."""


def changes(before: Mapping[str, Any], after: Mapping[str, Any], *, only_identity: bool = False) -> list[str]:
    """A line for each key that differs; those that change the result are marked with a star."""
    if not before:
        return []
    found = [change for change in diff_specs(before, after) if change.identity or not only_identity]
    return [line(change) for change in found]


def line(change: Change) -> str:
    """`* train.duration: "8M tokens" -> "2M tokens"`."""
    mark = "*" if change.identity else " "
    return sanitize(f"{mark} {change.key}: {value(change.before)} -> {value(change.after)}")


def value(item: Any) -> str:
    """A value as JSON and TOML write it."""
    return OPEN if item is None else json.dumps(item, ensure_ascii=False)
