"""A commented spec to start from, written out of the sections' own fields and docstrings."""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from toolkit.spec.fields import allowed, bare, kind_of
from toolkit.spec.model import Preset
from toolkit.spec.section import Section
from toolkit.spec.spec import Spec
from toolkit.spec.toml import toml_value

_WIDTH = 100
_SHORT = 60


def template(name: str = "my_gpt", *, preset: Preset = "qwen3", files: str | None = None) -> str:
    """A spec with every key: the usual ones set, the others commented out at their defaults.

    `files` is a path or glob to train on; without it, Python's own library. Raises ValueError for a bad name.
    """
    source = {"kind": "files", "path": files} if files else {"kind": "python_stdlib"}
    spec = Spec.model_validate(
        {
            "name": name,
            "data": {"sources": [source]},
            "model": {"kind": "gpt", "preset": preset},
            "objective": {"kind": "causal_lm"},
            "train": {"duration": "8M tokens", "batch": "16k tokens"},
        }
    )
    lines = [f"# `tk run {name}.toml` trains it, `tk plan {name}.toml` says what it takes.", ""]
    lines += _table(spec, shown={"name", "description", "seed"})
    for key, usual in _USUAL.items():
        section = getattr(spec, key)
        lines += ["", *_comment(_first_line(section)), f"[{key}]", *_table(section, shown=usual)]
    return "\n".join(lines) + "\n"


_USUAL = {
    "data": {"sequence_length", "validation", "tokenizer", "sources"},
    "model": {"kind", "preset", "n_layers", "d_model", "n_heads"},
    "objective": {"kind"},
    "train": {"duration", "batch", "optimizer", "schedule"},
    "run": {"checkpoint_every", "keep"},
}


def _table(section: Section, *, shown: set[str]) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        if name in _USUAL:
            continue
        found = bare(field.annotation, tuple(field.metadata))
        kinds = [kind_of(option) for option in found.sections]
        choice = f" Kinds: {', '.join(kinds)}." if len(kinds) > 1 else ""
        yield from _comment(f"{field.description or ''}{choice}")
        value = _plain(getattr(section, name))
        if value is None:
            yield f"# {name} = ({allowed(found)})"
        else:
            yield f"{'' if name in shown else '# '}{name} = {toml_value(value)}"


def _plain(value: Any) -> Any:
    """A section as the table a user would write: whole where it is short, else its kind and what was set."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, Section):
        return value
    fields = type(value).model_fields
    table = {name: _plain(item) for name in fields if (item := getattr(value, name)) is not None}
    if len(toml_value(table)) <= _SHORT:
        return table
    return {name: item for name, item in table.items() if name in value.model_fields_set}


def _first_line(section: Section) -> str:
    return (type(section).__doc__ or "").strip().splitlines()[0]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(" ".join(text.split()), _WIDTH, break_long_words=False)]
