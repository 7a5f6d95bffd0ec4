"""Writing TOML values."""

import json
from collections.abc import Mapping
from typing import Any

from toolkit.spec.duration import Quantity


def toml_value(value: Any) -> str:
    """A value on one line, tables in braces. Raises TypeError for what TOML has no form for, such as None."""
    if isinstance(value, Quantity):
        return f'"{value}"'
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        pairs = [f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    raise TypeError(f"TOML has no form for {value!r}")


def toml_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else toml_value(key)
