"""The end of a run offers an export exactly where there is a class of `transformers` for it."""

from itertools import product

import pytest

from toolkit.engine.summary import _exportable
from toolkit.interop.errors import InteropError
from toolkit.interop.families import FAMILIES
from toolkit.interop.heads import PROBLEMS, find_head
from toolkit.plan.errors import PlanError
from toolkit.plan.machine import Machine
from toolkit.plan.parents import find_parent
from toolkit.plan.plan import Plan, make_plan
from toolkit.spec.export import POOLS, export_family
from toolkit.spec.spec import Spec

BASE = {
    "name": "x",
    "data": {"tokenizer": {"kind": "bytes"}, "sequence_length": 64},
    "train": {"duration": "10 steps", "batch": "8 rows"},
}
IMAGES = {"sources": [{"kind": "digits"}]}
MODELS = {
    "gpt": ({"kind": "gpt", "preset": "gpt2"}, {"kind": "causal_lm"}),
    "bert": ({"kind": "bert"}, {"kind": "masked_lm", "replace": "bert"}),
    "modernbert": ({"kind": "modernbert"}, {"kind": "masked_lm", "replace": "bert"}),
    "vit": ({"kind": "vit", "patch_size": 2}, {"kind": "masked_image"}),
    "vit_mean": ({"kind": "vit", "patch_size": 2, "pooling": "mean"}, {"kind": "masked_image"}),
}
SIZES = {"n_layers": 1, "d_model": 32, "n_heads": 2}


def plans(model: str, tmp_path) -> list[Plan]:
    """Of every target and head that the plan allows on the model."""
    shape, objective = MODELS[model]
    found = []
    kinds = [{"kind": kind} for kind in ("classify", "regress", "multilabel", "tag", "answer")]
    kinds.append({"kind": "answer", "options": ["a", "b"]})
    for target, pool, head in product(
        kinds, (None, "class", "last", "mean", "surprisal"), (None, "linear", "family")
    ):
        section = {**target, "data": {"kind": "files", "path": "a.jsonl"}}
        if pool:
            section["pool"] = pool
        if pool == "surprisal":
            section["tune"] = {"kind": "head"}
        if head:
            section["head"] = head
        fields = BASE | {"model": {**shape, **SIZES}, "objective": objective, "finetune": {"a": section}}
        if model.startswith("vit"):
            fields["data"] = IMAGES
        try:
            spec = Spec.model_validate(fields)
            parent = find_parent(spec, "a", root=tmp_path)
            found.append(make_plan(spec, "a", machine=Machine.detect(), parent=parent))
        except (ValueError, PlanError):
            continue
    return found


@pytest.mark.parametrize("model", MODELS)
def test_an_export_is_offered_where_it_is_possible(model: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TK_CACHE", str(tmp_path))
    seen = set()
    for plan in plans(model, tmp_path / "runs"):
        family = export_family(plan.architecture)
        assert family is not None
        possible = plan.task.reads_with == "words" or plan.task.kind in PROBLEMS
        if possible and plan.task.reads_with != "words":
            try:
                find_head(plan, family)
            except InteropError:
                possible = False
        assert _exportable(plan) == possible, plan.task
        seen.add(possible)
    assert seen == {True, False} or model == "vit_mean"


def test_the_pools_are_those_of_the_families() -> None:
    for name, family in FAMILIES.items():
        kind = name if name in POOLS else "gpt"
        assert set(family.heads["pooled"].pools) == set(POOLS[kind])
