"""The plan in words."""

import pytest

from toolkit.plan.plan import make_plan
from toolkit.plan.probe import ProbeRecord, workload_key
from toolkit.plan.report import plan_beside_actual, plan_rows


def test_a_plan_reads_as_it_should(spec, machine, facts) -> None:
    plan = make_plan(
        spec(run={"rates": {"watts": 100, "per_kwh": 0.3, "currency": "EUR"}}), machine=machine, facts=facts()
    )
    probe = ProbeRecord(machine=machine.key, workload=workload_key(plan), tokens_per_second=10_000)
    rows = dict(row for row in plan_rows(plan.with_probe(probe, facts())) if row[0])
    assert rows["run"] == "gpt_small/pretrain"
    assert rows["model"] == "qwen3, 6 layers of 384, 6 heads, vocabulary 4,096"
    assert rows["parameters"] == "13,768,320: embedding 1.57M, head 1.57M, non-embedding 10.6M"
    assert rows["length"] == "24,415 steps, 400M tokens, 29.1 per parameter, 3.13 epochs"
    assert rows["batch"] == "64 rows of 256 tokens, 16 at once, bfloat16 on cpu"
    assert rows["evaluation"] == "every 2442 steps; checkpoints every 2 min"
    assert rows["time"] == "11 h 6 min, by the speed measured on this kind of machine"
    assert rows["cost"] == "1.11 kWh, 0.33 EUR"


@pytest.mark.parametrize("preset", ["gpt2", "qwen3"])
def test_rows_fit_a_terminal(spec, machine, gpu_machine, preset: str) -> None:
    large = {"kind": "gpt", "preset": preset, "n_layers": 48, "d_model": 6144, "n_heads": 48, "n_kv_heads": 8}
    for changes in ({}, {"model": large}, {"train": {"duration": "2 epochs"}}):
        for here in (machine, gpu_machine):
            rows = plan_rows(make_plan(spec(**changes), machine=here))
            assert max(len(f"{label:<12} {value}") for label, value in rows) <= 80
            assert max(len(label) for label, _ in rows) <= 12


def test_what_is_not_known_is_said(spec, machine) -> None:
    rows = dict(plan_rows(make_plan(spec(train={"duration": "2 epochs"}), machine=machine)))
    assert rows["length"] == "2 epochs: not known before the data is prepared"
    assert rows["time"] == "not known before the data is prepared"
    rows = dict(plan_rows(make_plan(spec(), machine=machine)))
    assert rows["time"] == "not known: `tk plan --probe` measures it, or the first run"


def test_plan_and_actual_are_paired_by_name(spec, machine) -> None:
    plan = make_plan(spec(), machine=machine)
    actual = {"parameters": plan.parameters.total, "flops": 2 * (plan.flops or 0), "seconds": 3.0}
    beside = {row.name: row for row in plan_beside_actual(plan, actual)}
    assert list(beside) == ["parameters", "tokens", "flops", "seconds", "peak_memory"]
    assert beside["parameters"].ratio == 1
    assert beside["flops"].ratio == 2
    assert beside["seconds"].planned is None
    assert beside["seconds"].ratio is None
    assert beside["peak_memory"].actual is None
