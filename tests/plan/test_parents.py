"""What a fine-tune's parent names, and what the plan takes from it."""

import dataclasses
from pathlib import Path

import pytest

from toolkit.plan.errors import PlanError
from toolkit.plan.parents import find_parent, import_name
from toolkit.plan.plan import Plan, make_plan, plan_here
from toolkit.spec.data import Data
from toolkit.spec.load import load_spec
from toolkit.spec.spec import Spec

ROWS = {"kind": "files", "path": "a.jsonl"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TK_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_stage_takes_the_shape_of_its_parent(folder, spec, machine):
    child = spec(finetune={"news": {"kind": "classify", "data": ROWS}})
    parent = find_parent(child, "news", root=folder / "runs")
    plan = make_plan(child, "news", machine=machine, parent=parent)
    above = make_plan(child, machine=machine)
    assert plan.architecture == above.architecture
    assert plan.parent is not None
    assert plan.parent.fingerprint == above.fingerprint
    assert plan.parent.run == "gpt_small/pretrain"
    assert plan.parent.checkpoint is None
    assert plan.fingerprint != above.fingerprint
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_spec_of_its_own_names_another_spec(folder, spec):
    (folder / "base.toml").write_text(
        'name = "base"\n[model]\nkind = "gpt"\n[objective]\nkind = "causal_lm"\n'
        '[train]\nduration = "10 steps"\nbatch = "8 rows"\n'
    )
    child = Spec.model_validate(
        {"name": "x", "parent": "base.toml@best", "finetune": {"a": {"kind": "regress", "data": ROWS}}}
    )
    plan = plan_here(child, "a", runs=folder / "runs")
    assert plan.parent is not None
    assert (plan.parent.run, plan.parent.selector) == ("base/pretrain", "best")


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ("nowhere.toml", "finetune.a.parent: there is no nowhere.toml"),
        ("nothing/here", "finetune.a.parent: no run nothing/here"),
        ("../escape/x", "does not name a run|cannot name a run"),
    ],
)
def test_a_parent_that_is_nothing_is_named(folder, spec, parent, message):
    child = spec(finetune={"a": {"kind": "classify", "data": ROWS, "parent": parent}})
    with pytest.raises(PlanError, match=message):
        find_parent(child, "a", root=folder / "runs")


def test_what_a_child_can_not_have_of_its_parent_is_told_before_anything_runs(folder, spec, machine):
    child = spec(finetune={"a": {"kind": "classify", "data": ROWS, "sequence_length": 512}})
    parent = find_parent(child, "a", root=folder / "runs")
    with pytest.raises(PlanError, match=r"finetune\.a\.sequence_length: 512 .*gpt_small/pretrain.*= 256"):
        make_plan(child, "a", machine=machine, parent=parent)
    (folder / "base.toml").write_text(
        'name = "base"\n[model]\nkind = "gpt"\n[objective]\nkind = "causal_lm"\n'
        '[train]\nduration = "10 steps"\nbatch = "8 rows"\n'
    )
    other = Spec.model_validate(
        {
            "name": "x",
            "parent": "base.toml",
            "data": {"tokenizer": {"kind": "bytes"}},
            "finetune": {"a": {"kind": "regress", "data": ROWS}},
        }
    )
    with pytest.raises(
        PlanError, match=r'data\.tokenizer: "bytes" of 257 here, and base/pretrain has "bpe" of 4,096'
    ):
        plan_here(other, "a", runs=folder / "runs")


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"kind": "top", "blocks": 99}, r"finetune\.a\.tune\.blocks: 99 is more than the \d+ blocks of"),
        (
            {"kind": "lora", "projections": ["gate"]},
            r"finetune\.a\.tune\.projections: the blocks of gpt_small/pretrain have none of gate\. Name",
        ),
    ],
)
def test_what_the_parents_blocks_do_not_have_can_not_move(folder, spec, machine, tune, message):
    child = spec(model={"preset": "gpt2"}, finetune={"a": {"kind": "classify", "data": ROWS, "tune": tune}})
    parent = find_parent(child, "a", root=folder / "runs")
    with pytest.raises(PlanError, match=message):
        make_plan(child, "a", machine=machine, parent=parent)


def test_words_need_a_trunk_that_reads_them_and_a_head_that_may_move(folder, spec, machine):
    tied = spec(
        model={"tie_embeddings": True},
        finetune={"a": {"kind": "chat", "data": ROWS, "tune": {"kind": "head"}}},
    )
    parent = find_parent(tied, "a", root=folder / "runs")
    with pytest.raises(
        PlanError, match=r"finetune\.a\.tune: the head of gpt_small/pretrain is its embedding"
    ):
        make_plan(tied, "a", machine=machine, parent=parent)
    pictures = dataclasses.replace(
        parent, data=Data.model_validate({"image_size": 32, "sources": [{"kind": "folder", "path": "x"}]})
    )
    tags = spec(finetune={"a": {"kind": "tag", "data": ROWS}})
    with pytest.raises(
        PlanError, match=r'finetune\.a\.kind: "tag" reads text, and gpt_small/pretrain reads image'
    ):
        make_plan(tags, "a", machine=machine, parent=pictures)


@pytest.mark.parametrize(
    "tune", [{"kind": "full"}, {"kind": "head"}, {"kind": "top", "blocks": 2}, {"kind": "lora"}]
)
def test_what_stands_still_costs_neither_gradient_nor_optimizer(folder, spec, machine, tune):
    child = spec(finetune={"a": {"kind": "classify", "data": ROWS, "tune": tune}})
    parent = find_parent(child, "a", root=folder / "runs")
    plan = make_plan(child, "a", machine=machine, parent=parent)
    share = plan.trainable / plan.parameters.total
    assert plan.memory.optimizer <= 8 * plan.trainable * 1.3
    assert (share == 1.0) == (tune["kind"] == "full")
    full = make_plan(
        spec(finetune={"a": {"kind": "classify", "data": ROWS}}), "a", machine=machine, parent=parent
    )
    assert plan.memory.total <= full.memory.total
    assert plan.flops_per_token <= full.flops_per_token


def test_imports_have_names_of_runs():
    assert import_name("hf:openai-community/gpt2") == "openai-community--gpt2"
    assert import_name("hf:./My Model!/") == "my-model"


def test_a_data_file_that_is_not_there_is_told_before_the_run(folder, spec, machine):
    rows = {**ROWS, "validation_path": "held_out/*.jsonl"}
    child = spec(finetune={"news": {"kind": "classify", "data": rows}})
    parent = find_parent(child, "news", root=folder / "runs")
    (said,) = make_plan(child, "news", machine=machine, parent=parent).warnings
    assert said.startswith(f"finetune.news.data.path: there is no a.jsonl (relative paths start at {folder})")
    assert "data.root" in said
    (folder / "a.jsonl").touch()
    assert not make_plan(child, "news", machine=machine, parent=parent).warnings


@pytest.mark.parametrize("table", ["", "[finetune.news]\n"])
def test_a_parent_beside_the_spec_comes_before_the_working_folder(folder, table):
    (folder / "specs").mkdir()
    top = "" if table else 'parent = "base.toml@best"\n'
    within = 'parent = "base.toml@best"\n' if table else ""
    own = '[model]\nkind = "gpt"\n[objective]\nkind = "causal_lm"\n[train]\nduration = "1M tokens"\nbatch = "8 rows"\n'
    pretrains = own if table else ""
    (folder / "specs" / "child.toml").write_text(
        f'name = "child"\n{top}{pretrains}[finetune.news]\nkind = "classify"\n{within}'
        'duration = "1 epoch"\ndata = { kind = "files", path = "a.jsonl" }\n'
    )

    def parent() -> str | None:
        spec = load_spec("specs/child.toml").spec
        return spec.finetune["news"].parent or spec.parent

    (folder / "base.toml").touch()
    assert parent() == "base.toml@best"
    (folder / "specs" / "base.toml").touch()
    assert parent() == "specs/base.toml@best"
    (folder / "specs" / "grandchild.toml").write_text('extends = "child.toml"\nname = "other"\n')
    other = load_spec("specs/grandchild.toml", ["parent=base.toml"] if not table else []).spec
    assert (other.finetune["news"].parent or other.parent) == (
        "specs/base.toml@best" if table else "base.toml"
    )


BERT = {
    "data": {"tokenizer": {"kind": "bytes"}},
    "model": {"kind": "bert", "n_layers": 2, "d_model": 32, "n_heads": 2},
}
SURPRISAL = {"kind": "regress", "data": ROWS, "pool": "surprisal", "tune": {"kind": "head"}}


def test_surprisal_needs_a_parent_that_learned_from_words_it_sees(folder, spec, machine):
    child = spec(finetune={"a": SURPRISAL})
    parent = find_parent(child, "a", root=folder / "runs")
    with pytest.raises(
        PlanError, match=r'finetune\.a\.pool: "surprisal" asks .* trained for causal_lm\. Write "mean"'
    ):
        make_plan(child, "a", machine=machine, parent=parent)
    for replace in ("mask", "bert"):
        fields = {**spec().model_dump(mode="json", exclude_unset=True), **BERT}
        fields |= {"objective": {"kind": "masked_lm", "replace": replace}, "finetune": {"a": SURPRISAL}}
        child = Spec.model_validate(fields)
        parent = find_parent(child, "a", root=folder / "runs")
        if replace == "mask":
            with pytest.raises(
                PlanError, match=r'hidden ones alone\. Pretrain it with objective\.replace = "bert"'
            ):
                make_plan(child, "a", machine=machine, parent=parent)
        else:
            assert make_plan(child, "a", machine=machine, parent=parent).trainable == 32
