"""Equal plans have equal fingerprints, and what changes a result changes them."""

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.plan.fingerprint import canonical, fingerprint, plan_identity, target_identity
from toolkit.plan.parent import ParentRecord
from toolkit.spec.model import resolve_architecture
from toolkit.spec.target import Classify

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
).filter(lambda value: "\\ud" not in json.dumps(value))


def identity(spec, **arguments):
    arch = resolve_architecture(
        spec.model,
        vocab_size=arguments.pop("vocab_size", 4096),
        sequence_length=spec.data.sequence_length,
    )
    return fingerprint(plan_identity(spec, arch, **arguments))


@given(VALUES)
def test_canonical_bytes_read_back_equal(value):
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(), min_size=2))
def test_order_of_keys_does_not_matter(value):
    turned = dict(reversed(value.items()))
    assert canonical(value) == canonical(turned)


def test_fingerprint_is_sha256_of_the_written_form():
    assert (
        fingerprint({"b": [1, 2.5, "é"], "a": None})
        == hashlib.sha256('{"a":null,"b":[1,2.5,"é"]}'.encode()).hexdigest()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], {"a": math.nan}])
def test_numbers_that_json_lacks_are_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(value)


def test_keys_that_json_would_rename_are_refused():
    with pytest.raises(TypeError, match="key 1 is not text"):
        canonical([{"a": {1: "one"}}])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"description": "words"},
        {"run": {"device": "cpu", "micro_batch": 4, "keep": {"last": 5}, "evaluate_every": "5 steps"}},
        {"train": {"duration": "400_000k tokens", "batch": "64 samples"}},
        {"model": {"head_dim": 64, "norm": "rmsnorm", "d_ff": 1024}},
    ],
)
def test_what_does_not_change_the_result_is_left_out(spec, change):
    assert identity(spec(**change)) == identity(spec())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"data": {"sequence_length": 128}},
        {"data": {"validation": 0.02}},
        {"data": {"tokenizer": {"kind": "bytes"}}},
        {"data": {"sources": [{"kind": "files", "path": "a.txt"}]}},
        {"model": {"n_layers": 7}},
        {"model": {"preset": "llama"}},
        {"model": {"dropout": 0.1}},
        {"train": {"duration": "401M tokens"}},
        {"train": {"batch": "65 rows"}},
        {"train": {"optimizer": {"kind": "muon", "lr": 0.03}}},
        {"train": {"schedule": {"kind": "cosine"}}},
        {"train": {"clip": 1.0}},
        {"train": {"recovery": {"on_nonfinite": "skip"}}},
    ],
)
def test_what_changes_the_result_is_in(spec, change):
    assert identity(spec(**change)) != identity(spec())


def test_a_fine_tune_is_told_by_its_target_its_seed_and_its_parent():
    def target(**options):
        data = {"kind": "files", "path": "a.jsonl"}
        return Classify.model_validate({"kind": "classify", "data": data, **options})

    def print_of(seed=1, parent="ab" * 32, selector=None, **options):
        record = ParentRecord(run="gpt/pretrain", fingerprint=parent, selector=selector)
        return fingerprint(target_identity(seed, target(**options), record))

    same = {print_of(), print_of(parent="ab" * 32), print_of(on_bad_row="skip")}
    others = {
        print_of(seed=2),
        print_of(parent="cd" * 32),
        print_of(selector="best"),
        print_of(label_key="topic"),
        print_of(tune={"kind": "head"}),
        print_of(start="scratch"),
    }
    assert len(same) == 1
    assert len(same | others) == 7


def test_runs_from_before_recovery_keep_their_fingerprints():
    from pathlib import Path

    from toolkit.spec.load import load_spec

    found = load_spec(Path(__file__).parents[2] / "specs/vit_masked.toml", []).spec
    arch = resolve_architecture(found.model, image_shape=found.data.image_shape)
    assert (
        fingerprint(plan_identity(found, arch))
        == "4e53c21a7b1551e62196ffacdd29298d7be96ab0b577e5d01563de2853b42637"
    )


def test_how_a_hub_source_travels_is_left_out(spec):
    sources = [
        [{"kind": "hub", "path": "some/set", "streaming": streaming, "max_documents": count}]
        for streaming, count in ((True, 10), (False, 10), (True, 11))
    ]
    first, second, third = (identity(spec(data={"sources": s})) for s in sources)
    assert first == second != third


def test_it_is_the_same_before_and_after_the_data_is_read(spec):
    assert identity(spec(), vocab_size=4096) == identity(spec(), vocab_size=3000)
