"""A run killed at any moment and resumed equals the uninterrupted one, bit for bit."""

import math
from pathlib import Path

import pytest
import torch
from outcome import curves, final

from toolkit.store.events import read_events
from toolkit.store.status import read_status


def test_twenty_kills_change_nothing(make_job, attempts) -> None:
    whole, killed = make_job("whole", 150), make_job("killed", 150)
    assert attempts(whole)[0] == ["0"]
    times = {event["kind"]: event["time"] for event in read_events(whole.run)}
    outcomes, _ = attempts(killed, seed=1, signals=20, longest=0.3 * (times["finished"] - times["created"]))
    # The run may be done before all twenty have fallen.
    assert outcomes.count("killed") >= 8, outcomes
    assert outcomes[-1] == "0"
    resumed = {event["step"] for event in read_events(killed.run) if event["kind"] == "resumed"}
    assert len(resumed) >= 3, f"the kills should fall all over the run, not only at {resumed}"
    expected, got = final(whole), final(killed)
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    assert curves(whole) == curves(killed)
    assert {"train/loss", "val/loss", "val/bits_per_byte"} <= curves(whole).keys()
    assert all(math.isfinite(v) for points in curves(killed).values() for _, v in points)


def test_a_finished_run_learned_something(make_job, attempts) -> None:
    job = make_job("learns", 80, "train.optimizer.lr=0.02")
    attempts(job)
    loss = [value for _, value in curves(job)["train/loss"]]
    assert sum(loss[-5:]) / 5 < 0.7 * loss[0]
    kinds = [event["kind"] for event in read_events(job.run)]
    assert kinds[0] == "created"
    assert kinds[-1] == "finished"


def test_changed_data_refuse_to_resume(make_job, attempts, texts: Path) -> None:
    job = make_job("changed", 20)
    attempts(job)
    (texts / "00.txt").write_text("something else altogether, and long enough to be a document")
    assert attempts(make_job("again", 10))[0] == ["0"], "new data are fine for a new run"
    outcomes, printed = attempts(job)
    assert outcomes == ["2"]
    assert "the data of changed/pretrain changed since it began" in printed
    assert "changed since it began" in read_status(job.run).reason


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_precisions_and_optimizers_resume(make_job, attempts, kind: str) -> None:
    whole = make_job(f"w-{kind}", 20, f"train.optimizer.kind={kind}", "run.precision=bfloat16")
    parts = make_job(f"p-{kind}", 20, f"train.optimizer.kind={kind}", "run.precision=bfloat16")
    attempts(whole)
    attempts(parts, seed=2, signals=3, longest=2.5)
    expected, got = final(whole), final(parts)
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []


@pytest.mark.parametrize(
    "signal",
    ["SIGTERM", "SIGUSR1", *(pytest.param(name, marks=pytest.mark.long) for name in ("SIGINT", "SIGHUP"))],
)
def test_a_signal_saves_and_says_so(make_job, attempts, signal: str) -> None:
    whole, stopped = make_job("whole", 40), make_job("stopped", 40)
    attempts(whole)
    outcomes, _ = attempts(stopped, seed=3, signals=3, longest=2.0, signal=signal)
    assert outcomes[-1] == "0"
    assert set(outcomes[:-1]) <= {"75", "0"}, "stopped with the work saved, or finished before the signal"
    expected, got = final(whole), final(stopped)
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    assert curves(whole) == curves(stopped)
