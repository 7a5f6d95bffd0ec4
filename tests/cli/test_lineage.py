"""`tk lineage` and `tk rm`, on runs that were carried out."""

import json
import shutil
from pathlib import Path

import pytest

from toolkit.cli.lineage import _few
from toolkit.store.lineage import Node

FINETUNE = """
[finetune.kind]
kind = "classify"
data = {{ kind = "files", path = "{folder}/rows.jsonl", validation = 0.3 }}
duration = "6 steps"
batch = "8 rows"
"""


@pytest.fixture(scope="module")
def family(finished, tmp_path_factory: pytest.TempPathFactory):
    """A pretraining and a fine-tune of it; tests leave both as they are."""
    rows = [{"text": f"lorem {number}", "label": str(number % 2)} for number in range(40)]
    desk = type(finished).__new__(type(finished))
    desk.folder = tmp_path_factory.mktemp("family")
    shutil.copytree(finished.folder, desk.folder, dirs_exist_ok=True)
    desk.runs, desk.spec = desk.folder / "runs", desk.folder / "tiny.toml"
    (desk.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    desk.spec.write_text(desk.spec.read_text() + FINETUNE.format(folder=desk.folder))
    desk.tk("run", "tiny.toml", "--stage", "kind")
    return desk


@pytest.fixture
def elsewhere(family, tmp_path: Path):
    """A copy that may be changed."""
    desk = type(family).__new__(type(family))
    desk.folder = tmp_path / "copy"
    shutil.copytree(family.folder, desk.folder)
    desk.runs, desk.spec = desk.folder / "runs", desk.folder / "tiny.toml"
    return desk


def test_the_tree_fits_a_terminal(family) -> None:
    lines = family.tk("lineage").splitlines()
    assert lines[0].split() == ["RUN", "BEST", "FLOP", "TIME", "WITH", "ANCESTRY"]
    assert lines[1].startswith("tiny/pretrain ")
    assert lines[2].startswith("└ tiny/kind @30 ")
    assert "accuracy" in lines[2]
    assert max(map(len, lines)) <= 80
    assert family.tk("lineage", "tiny/kind").splitlines()[1:] == lines[1:]


def test_json_tells_the_whole_history_of_a_checkpoint(family) -> None:
    parent, child = json.loads(family.tk("lineage", "--json"))
    assert child["parent"] == parent["run"] == "tiny/pretrain"
    assert child["ancestry_cost"]["flops"] == pytest.approx(child["cost"]["flops"] + parent["cost"]["flops"])
    found = json.loads(family.tk("lineage", "tiny/kind@last", "--json"))
    assert found == json.loads(family.tk("lineage", child["checkpoint"][:10], "--json"))
    assert [item["role"] for item in found] == ["self", "init", "previous", "previous"]
    assert [item["step"] for item in found] == [6, 30, 20, 10]
    for item in found:
        assert {"fingerprint", "data_fingerprint", "seed", "versions", "flops", "metrics"} <= set(
            item["info"]
        )
    assert found[0]["info"]["ancestry_flops"] == pytest.approx(child["ancestry_cost"]["flops"])


def test_a_missing_parent_is_named(elsewhere) -> None:
    shutil.rmtree(elsewhere.runs / "tiny" / "pretrain")
    assert "tiny/pretrain" in elsewhere.tk("lineage").splitlines()[1]
    assert "missing" in elsewhere.tk("lineage").splitlines()[1]
    said = elsewhere.tk("lineage", "tiny/kind@last")
    assert "tiny/pretrain step 30" in said
    assert "is not here" in said


def test_what_is_not_there(family) -> None:
    assert "no run tiny/kinds" in family.tk("lineage", "tiny/kinds", status=2)
    assert "no checkpoint 0123456789" in family.tk("lineage", "0123456789", status=2)


def test_a_parent_is_removed_only_when_told_so_and_comes_back(elsewhere) -> None:
    said = elsewhere.tk("rm", "tiny/pretrain", status=2)
    assert "tiny/kind came from tiny/pretrain" in said
    assert (elsewhere.runs / "tiny" / "pretrain").exists()
    before = elsewhere.tk("lineage")
    elsewhere.tk("rm", "tiny/pretrain", "--yes")
    assert "tiny/pretrain" not in elsewhere.tk("ls")
    assert elsewhere.tk("rm", "tiny/pretrain", "--undo") == "tiny/pretrain is back.\n"
    assert elsewhere.tk("lineage") == before
    assert "was removed or replaced" in elsewhere.tk("rm", "tiny/pretrain", "--undo", status=2)


def test_all_of_a_name_go_without_asking_as_no_child_is_left_behind(elsewhere) -> None:
    elsewhere.tk("rm", "tiny/*")
    assert "No runs" in elsewhere.tk("ls")
    assert "Add --yes" in elsewhere.tk("rm", "--empty", status=2)
    assert "freed" in elsewhere.tk("rm", "--empty", "--yes")
    assert "Nothing was removed" in elsewhere.tk("rm", "--empty")
    assert not list(elsewhere.runs.rglob("*.safetensors"))


def test_a_run_that_is_written_is_refused(elsewhere) -> None:
    from toolkit.store.lease import hold
    from toolkit.store.runs import RunFolder

    with hold(RunFolder(elsewhere.runs, "tiny", "kind")):
        assert "is held by process" in elsewhere.tk("rm", "tiny/kind", status=1)
    assert (elsewhere.runs / "tiny" / "kind" / "plan.json").exists()
    for wrong in ([], ["--empty", "tiny/kind"], ["nothing/*"]):
        elsewhere.tk("rm", *wrong, status=2)


def test_many_runs_of_one_name_are_counted() -> None:
    children = [Node(f"gpt.transfer/run-{number}", None, "gpt/pretrain", None) for number in range(20)]
    children += [Node("gpt/chat", None, "gpt/pretrain", None)]
    assert _few(children, False) == ([children[-1]], {"gpt.transfer": 20})
    assert _few(children, True) == (children, {})
