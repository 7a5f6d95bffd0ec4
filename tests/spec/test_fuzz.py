"""Whatever stands in a spec, it loads or is refused with places that exist."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.spec.conftest import SOUND
from tests.spec.test_positions import values
from toolkit.spec.errors import SpecErrors
from toolkit.spec.fields import key_paths
from toolkit.spec.load import load_spec
from toolkit.spec.spec import Spec
from toolkit.spec.toml import toml_value

KEYS = sorted({*key_paths(Spec), "extends", "data.sources.0", "data.sources.1.weight", "model.kind.x", "x.y"})
snippets = st.sampled_from(
    ["[", "]", "{", "}", "=", '"', "'", "\n", ".", "[run]\n", "kind", "a = 1\n", '"""', "#"]
)


def _refused(text: str, overrides: list[str]) -> SpecErrors | None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "s.toml"
        path.write_bytes(text.encode())
        try:
            load_spec(path, overrides)
        except SpecErrors as errors:
            return errors
        return None


def _load(text: str, overrides: list[str]) -> None:
    lines = text.replace("\r\n", "\n").split("\n")
    if errors := _refused(text, overrides):
        assert errors.problems
        assert str(errors).count("\n") == len(errors.problems)
        for problem in errors.problems:
            assert problem.message
            if problem.line:
                assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SOUND)), st.integers(0, 12), snippets), max_size=4))
def test_broken_texts(edits: list[tuple[int, int, str]]) -> None:
    text = SOUND
    for start, length, new in edits:
        text = text[:start] + new + text[start + length :]
    _load(text, [])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=4))
@example([("data.sources", [{"kind": "files"}, 3, {}])])
@example([("model", {"kind": ["gpt"]}), ("train", [])])
@example([("train.optimizer", {"kind": "muno", "lr": {"a": []}, "betas": [[], 3]})])
def test_any_value_at_any_key(pairs: list[tuple[str, Any]]) -> None:
    _load(SOUND, [f"{key}={toml_value(value)}" for key, value in pairs])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*Spec.model_fields, "modle", "x"]),
        values
        | st.dictionaries(
            st.sampled_from(["kind", "lr", "duration", "sources", "n_head", "keep", "tokenizer"]), values
        ),
    )
)
def test_any_tables(tables: dict[str, Any]) -> None:
    _load("".join(f"{key} = {toml_value(value)}\n" for key, value in tables.items()), [])
