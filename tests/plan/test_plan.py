"""The frozen plan: complete, equal after JSON, light, and honest about what it can't know."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.plan.corpus import write_facts
from toolkit.plan.cost import token_bytes
from toolkit.plan.errors import PlanError
from toolkit.plan.length import Every
from toolkit.plan.parents import find_parent
from toolkit.plan.plan import Plan, make_plan, plan_here
from toolkit.plan.probe import ProbeRecord, find_probe, save_probe, workload_key
from toolkit.plan.report import plan_rows
from toolkit.spec.load import load_spec
from toolkit.spec.spec import PRETRAIN

SPECS = Path(__file__).parents[2] / "specs"
SHIPPED = sorted(SPECS.glob("*.toml"))


def measured(plan, **fields):
    return ProbeRecord(
        machine=plan.machine, workload=workload_key(plan), **{"tokens_per_second": 10_000.0, **fields}
    )


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_spec_is_planned(machine, gpu_machine, file, monkeypatch, tmp_path):
    monkeypatch.chdir(file.parent.parent)
    spec = load_spec(file).spec
    for where in (machine, gpu_machine):
        for stage in spec.stages:
            parent = None if stage == PRETRAIN else find_parent(spec, stage, root=tmp_path, cache=tmp_path)
            plan = make_plan(spec, stage, machine=where, parent=parent)
            assert Plan.model_validate_json(plan.model_dump_json()) == plan
            assert not [
                warning for warning in plan.warnings if "does not divide" in warning or "rows of" in warning
            ]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    duration=st.sampled_from(["1 step", "3.5 epochs", "20 tokens/param", "12.34B tokens", "7 samples"]),
    batch=st.sampled_from(["1 row", "64 rows", "100k tokens"]),
    preset=st.sampled_from(["gpt2", "llama", "qwen3"]),
    seed=st.integers(0, 2**63 - 1),
    lr=st.floats(1e-12, 10),
    interval=st.sampled_from(["0.1 seconds", "3 steps", "1M tokens", "0.3 epochs"]),
    prepared=st.booleans(),
    timed=st.booleans(),
)
def test_loads_back_equal(spec, machine, facts, duration, batch, preset, seed, lr, interval, prepared, timed):
    optimizer = {"kind": "adamw", "lr": lr}
    made = spec(
        seed=seed,
        model={"preset": preset},
        train={"duration": duration, "batch": batch, "optimizer": optimizer},
        run={"evaluate_every": interval, "rates": {"watts": 33.3, "per_kwh": 0.31}},
    )
    corpus = facts(rows=1234) if prepared else None
    plan = make_plan(made, machine=machine, facts=corpus)
    if timed:
        plan = plan.with_probe(measured(plan, tokens_per_second=12345.678), corpus)
    assert Plan.model_validate_json(plan.model_dump_json(indent=1)) == plan
    assert all(isinstance(value, str) and len(label) <= 12 for label, value in plan_rows(plan))


def test_the_arithmetic_of_a_plan(spec, machine, facts):
    plan = make_plan(spec(train={"duration": "2 epochs"}), machine=machine, facts=facts(rows=6_400))
    assert (plan.batch_rows, plan.micro_batch, plan.micro_batches) == (64, 16, 4)
    assert (plan.steps, plan.tokens, plan.epochs) == (200, 200 * 64 * 256, 2.0)
    assert plan.parameters.total == 13_768_320
    assert plan.tokens_per_parameter == plan.tokens / 13_768_320
    assert plan.flops == plan.tokens * plan.flops_per_token
    assert plan.evaluate_every == plan.sample_every == Every(steps=20)
    assert plan.checkpoint_every == Every(seconds=120.0)
    assert (plan.device, plan.precision) == ("cpu", "bfloat16")
    # Weights and two moments for all, one moment fewer for Muon's matrices.
    assert plan.disk.checkpoint == 4 * (3 * 13_768_320 - 6 * (4 * 384**2 + 3 * 384 * 1024))
    assert plan.disk.checkpoints == 4 * plan.disk.checkpoint
    assert plan.disk.data == (6_400 + 4_000) * 256 * 2


def test_what_waits_for_the_data(spec, machine):
    plan = make_plan(spec(train={"duration": "2 epochs"}), machine=machine)
    unknown = ["steps", "tokens", "epochs", "flops", "evaluate_every", "sample_every", "data_fingerprint"]
    assert [key for key in unknown if getattr(plan, key) is not None] == []
    assert plan.with_probe(measured(plan)).seconds is None
    assert dict(plan_rows(plan))["length"] == "2 epochs: not known before the data is prepared"


def test_the_fingerprint_outlives_the_preparation(spec, machine, gpu_machine, facts):
    before = make_plan(spec(), machine=machine)
    after = make_plan(spec(), machine=gpu_machine, facts=facts(vocab_size=3999))
    assert before.fingerprint == after.fingerprint
    assert before.data_fingerprint != after.data_fingerprint
    assert after.vocab_size == after.architecture.vocab_size == 3999


def test_time_and_cost_follow_from_the_measured_speed(spec, machine, facts):
    rates = {"per_hour": 1.5, "watts": 200, "per_kwh": 0.4, "currency": "EUR"}
    corpus = facts(held_out=100)
    plan = make_plan(
        spec(train={"duration": "36 steps"}, run={"rates": rates, "evaluate_rows": 50}),
        machine=machine,
        facts=corpus,
    )
    assert plan.seconds is None
    assert plan.cost is None
    assert "not known" in dict(plan_rows(plan))["time"]
    training = 36 * 64 * 256 / 10_000
    assert plan.with_probe(measured(plan), corpus).seconds == pytest.approx(training)
    # Every 4 steps: 8 evaluations of 50 rows, and the last of all 100.
    probe = measured(plan, evaluation_tokens_per_second=40_000.0)
    timed = plan.with_probe(probe, corpus)
    seconds = training + (8 * 50 + 100) * 256 / 40_000
    assert timed.seconds == pytest.approx(seconds)
    assert timed.cost is not None
    assert timed.cost.energy_kwh == pytest.approx(0.2 * seconds / 3600)
    assert timed.cost.price == pytest.approx((1.5 + 0.2 * 0.4) * seconds / 3600)
    assert dict(plan_rows(timed))["cost"].endswith(" EUR")


def test_a_probe_is_found_for_the_same_work_on_the_same_kind_of_machine(spec, machine, tmp_path):
    plan = make_plan(spec(), machine=machine)
    assert find_probe(plan, cache=tmp_path) is None
    record = measured(plan, peak_flops=1e12, peak_memory=2**30)
    save_probe(record, cache=tmp_path)
    assert find_probe(plan, cache=tmp_path) == record
    same = {"seed": 5, "train": {"duration": "1 epoch"}, "data": {"validation": 0.2}}
    assert find_probe(make_plan(spec(**same), machine=machine), cache=tmp_path) == record
    four = machine.model_copy(update={"cores": 4})
    others = [
        make_plan(spec(), machine=four),
        make_plan(spec(model={"n_layers": 7}), machine=machine),
        make_plan(spec(train={"batch": "128 rows"}), machine=machine),
        make_plan(spec(train={"optimizer": {"kind": "adamw"}}), machine=machine),
        make_plan(spec(run={"precision": "float32"}), machine=machine),
        make_plan(spec(run={"micro_batch": 8}), machine=machine),
    ]
    assert [find_probe(other, cache=tmp_path) for other in others] == [None] * len(others)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 0}))
    assert find_probe(plan, cache=tmp_path) is None


def test_a_plan_here_takes_what_the_cache_knows(spec, facts, tmp_path, monkeypatch):
    monkeypatch.setenv("TK_CACHE", str(tmp_path))
    made = spec(train={"duration": "1 epoch"})
    assert plan_here(made, runs=tmp_path / "not" / "yet").steps is None
    write_facts(made.data, facts(rows=640))
    plan = plan_here(made, runs=tmp_path)
    assert plan.steps == 10
    save_probe(measured(plan))
    assert plan_here(made, runs=tmp_path).seconds == pytest.approx(10 * 64 * 256 / 10_000)


def test_an_unknown_stage_names_those_there_are(spec, machine):
    with pytest.raises(PlanError, match=r'gpt_small has no stage "coder". It has: pretrain.'):
        make_plan(spec(), "coder", machine=machine)


@pytest.mark.parametrize(("vocab_size", "size"), [(256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_token_bytes(vocab_size, size):
    assert token_bytes(vocab_size) == size


def test_planning_imports_nothing_heavy(tmp_path):
    """In a process of its own: a plan of the default spec, on a machine found anew."""
    program = f"""
import sys
from toolkit.plan.plan import plan_here
from toolkit.plan.report import plan_rows
from toolkit.spec.load import load_spec
plan_rows(plan_here(load_spec({str(SPECS / "gpt_small.toml")!r}).spec))
heavy = {{"torch", "numpy", "datasets", "pyarrow", "transformers", "tokenizers", "huggingface_hub"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
