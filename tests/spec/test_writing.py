"""What the spec floor writes: the template, the JSON schema, TOML values, differences."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given

from tests.spec.test_positions import tables
from toolkit.spec.data import Source
from toolkit.spec.diff import Change, diff_specs
from toolkit.spec.fields import key_paths
from toolkit.spec.load import LoadedSpec, load_spec
from toolkit.spec.model import Preset
from toolkit.spec.schema import json_schema
from toolkit.spec.spec import Spec
from toolkit.spec.template import template
from toolkit.spec.toml import toml_value

SPECS = Path(__file__).parents[2] / "specs"


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_specs_load_and_carry_the_schema(path: Path) -> None:
    assert load_spec(path).spec.name == path.stem
    assert path.read_text().startswith("#:schema ./tk.schema.json\n")


def test_the_written_schema_is_in_step() -> None:
    assert json.loads((SPECS / "tk.schema.json").read_text()) == json_schema(), (
        "write it again: tk schema > specs/tk.schema.json"
    )


def test_the_schema_knows_every_key_and_lets_a_file_extend_another() -> None:
    schema = json_schema()
    known = {name for table in [schema, *schema["$defs"].values()] for name in table.get("properties", {})}
    sources = get_args(get_args(Source)[0])
    items = {name for section in sources for name in section.model_fields}
    assert known == {path.rsplit(".", 1)[-1] for path in key_paths(Spec)} | items | {"extends"}
    assert {"required": ["extends"]} in schema["anyOf"]
    assert "required" not in schema["$defs"]["Train"]


@pytest.mark.parametrize("preset", get_args(Preset))
def test_the_template_loads_and_names_every_key(tmp_path: Path, preset: Preset) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(template("mine", preset=preset, files="texts/*.txt"))
    spec = load_spec(path).spec
    assert (spec.name, spec.model.preset) == ("mine", preset)
    assert spec.data.sources[0].model_dump()["path"] == "texts/*.txt"
    lines = {line.removeprefix("# ").partition(" =")[0] for line in path.read_text().splitlines()}
    sections = (type(part) for part in (spec, spec.data, spec.model, spec.objective, spec.train, spec.run))
    keys = {name for section in sections for name in section.model_fields}
    assert keys - {"data", "model", "objective", "train", "run"} <= lines


def test_a_template_needs_a_good_name() -> None:
    with pytest.raises(ValueError, match="name"):
        template("My GPT")


@given(tables)
def test_toml_values_read_back_equal(table: dict[str, object]) -> None:
    assert tomllib.loads(f"value = {toml_value(table)}") == {"value": table}


def test_differences_say_whether_the_result_changes(load: Callable[..., LoadedSpec]) -> None:
    before = load().spec.model_dump(mode="json")
    overrides = [
        "name=b",
        "train.optimizer.kind=adamw",
        "data.sources.0.path=b.txt",
        "run.device=cpu",
        "seed=4",
    ]
    after = load_spec("s.toml", overrides).spec.model_dump(mode="json")
    changes = diff_specs(before, after)
    assert Change("name", "tiny", "b", False) in changes
    assert Change("seed", 3, 4, True) in changes
    assert Change("data.sources.0.path", "a.txt", "b.txt", True) in changes
    assert Change("run.device", "auto", "cpu", False) in changes
    assert Change("train.optimizer.ns_steps", 5, None, True) in changes
    assert Change("train.optimizer.betas", [0.8, 0.95], [0.9, 0.95], True) in changes
    assert {change.key.split(".")[0] for change in changes} == {"name", "seed", "data", "run", "train"}
    assert diff_specs(before, before) == []


def test_how_documents_travel_is_no_change_of_the_result() -> None:
    before = {"data": {"sources": [{"kind": "hub", "streaming": True, "split": "train"}]}}
    after = {"data": {"sources": [{"kind": "hub", "streaming": False, "split": "test"}]}}
    assert [(change.key, change.identity) for change in diff_specs(before, after)] == [
        ("data.sources.0.streaming", False),
        ("data.sources.0.split", True),
    ]


def test_what_is_done_with_bad_rows_is_no_change_of_the_result() -> None:
    before = {"finetune": {"chat": {"on_bad_row": "stop", "epochs": 1}}}
    after = {"finetune": {"chat": {"on_bad_row": "skip", "epochs": 2}}}
    assert {change.key: change.identity for change in diff_specs(before, after)} == {
        "finetune.chat.on_bad_row": False,
        "finetune.chat.epochs": True,
    }
