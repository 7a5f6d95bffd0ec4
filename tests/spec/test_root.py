"""`data.root` goes before every relative path of data, once."""

from pathlib import Path

import pytest

from toolkit.spec.load import load_spec
from toolkit.spec.spec import Spec

TEXT = """
name = "rooted"
[data]
{root}
sources = [{{ kind = "files", path = "{a}" }}, {{ kind = "hub", path = "some/texts" }}]
[model]
kind = "gpt"
[objective]
kind = "causal_lm"
[train]
duration = "10 steps"
batch = "1Ki tokens"
[finetune.topics]
kind = "classify"
data = {{ kind = "files", path = "{b}", validation_path = "/elsewhere/c.jsonl" }}
"""


def spec(folder: Path, **places: str) -> Spec:
    file = folder / "s.toml"
    file.write_text(TEXT.format(**places))
    return load_spec(file).spec


def test_relative_paths_start_there(tmp_path: Path) -> None:
    rooted = spec(tmp_path, root='root = "my/data"', a="a.txt", b="~/b.jsonl")
    assert [source.path for source in rooted.data.sources] == ["my/data/a.txt", "some/texts"]
    assert rooted.finetune["topics"].data.path == "~/b.jsonl"
    assert rooted.finetune["topics"].data.validation_path == "/elsewhere/c.jsonl"


@pytest.mark.parametrize("root", ["my/data", "/my/data", "~/data"])
def test_it_equals_the_paths_written_out(tmp_path: Path, root: str) -> None:
    rooted = spec(tmp_path, root=f'root = "{root}"', a="a.txt", b="b.jsonl")
    assert rooted == spec(tmp_path, root="", a=f"{root}/a.txt", b=f"{root}/b.jsonl")
    assert Spec.model_validate(rooted.model_dump(mode="json")) == rooted
