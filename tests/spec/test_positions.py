"""The place noted for a value is where its text begins."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from toolkit.spec.positions import Path, find_positions
from toolkit.spec.toml import toml_key, toml_value

names = st.text(min_size=1, max_size=6) | st.sampled_from(["a", "b", "a-b", "a.b", "ü", '"', "1"])
texts = st.text(max_size=8)
scalars = (
    st.integers(-(10**9), 10**9) | st.booleans() | texts | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(names, values, max_size=4)


def _paths(value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    found = [((*path, step), item) for step, item in items]
    return found + [deeper for inner, item in found for deeper in _paths(item, inner)]


@given(st.dictionaries(names, tables, max_size=3), tables)
def test_every_value_is_found_where_it_stands(sections: dict[str, Any], root: dict[str, Any]) -> None:
    root = {key: value for key, value in root.items() if key not in sections}
    text = "".join(f"{toml_key(key)} = {toml_value(value)}\n" for key, value in root.items())
    for name, table in sections.items():
        text += f"[{toml_key(name)}]\n" + "".join(
            f" {toml_key(k)} = {toml_value(v)}\n" for k, v in table.items()
        )
    lines = text.split("\n")
    places = find_positions(text).places
    for path, value in _paths({**root, **sections}):
        key, start = places[path]
        if len(path) == 1 and path[0] in sections:
            assert lines[start.line - 1][start.column - 1 :] == f"{toml_key(str(path[0]))}]"
        else:
            assert lines[start.line - 1][start.column - 1 :].startswith(toml_value(value))
        if isinstance(path[-1], str):
            assert lines[key.line - 1][key.column - 1 :].startswith(toml_key(path[-1]))
