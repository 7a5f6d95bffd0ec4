"""A batch that would harm the model never reaches the optimizer, and what is done about it can be repeated."""

from pathlib import Path

import pytest
import torch
from outcome import assert_equal, curves, final

from toolkit.engine.recovery import NonFinite, Spike, action, remembered, spike
from toolkit.spec.recovery import Recovery
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.status import read_status

SKIP = "train.recovery.on_nonfinite=skip"
ROLLBACK = (
    "train.recovery.on_spike=rollback",
    "train.recovery.window=12",
    "train.recovery.rollback_every=10",
)


def skipped(job) -> list[tuple[int, int | None]]:
    """(batch, step gone back to) of each recovery."""
    return [(e["batch"], e["back_to"]) for e in read_events(job.run) if e["kind"] == "skipped"]


def test_a_rollback_is_as_if_its_batches_had_never_been(make_job, attempts, poison) -> None:
    poison("33=1e6")
    rolls = make_job("rolls", 40, *ROLLBACK)
    outcomes, printed = attempts(rolls)
    assert outcomes == ["0"], printed
    assert skipped(rolls) == [(33, 30)]
    assert "gradient norm" in printed
    assert "batch 33 is passed over, back to step 30" in printed
    poison("30=nan,31=nan,32=nan,33=nan")
    never = make_job("never", 40, SKIP)
    assert attempts(never)[0] == ["0"]
    assert skipped(never) == [(batch, None) for batch in (30, 31, 32, 33)]
    one, other = final(rolls), final(never)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert curves(rolls) == curves(never)
    assert curves(never)["train/skipped_batches"][29:31] == [(30, 0.0), (31, 4.0)]


@pytest.mark.long
def test_kills_around_a_rollback_change_nothing(make_job, attempts, poison) -> None:
    poison("25=nan,33=1e6,47=1e7,64=nan")
    options = (*ROLLBACK, "train.recovery.on_nonfinite=rollback", "run.checkpoint_every=3 steps")
    whole, killed = make_job("whole", 80, *options), make_job("killed", 80, *options)
    assert attempts(whole)[0] == ["0"]
    # Later batches are met at earlier steps, by what was passed over before them.
    assert skipped(whole) == [(25, 20), (33, 20), (47, 30), (64, 40)]
    outcomes, _ = attempts(killed, seed=5, signals=8, longest=1.6)
    assert outcomes.count("killed") >= 5, outcomes
    assert outcomes[-1] == "0"
    assert_equal(whole, killed)


def test_a_document_of_another_world_is_passed_over(make_job, attempts, texts: Path) -> None:
    # One row of the 400 or so that are read: the bytes of a script that stands nowhere else.
    (texts / "strange.txt").write_text("".join(chr(code) for code in range(0x1200, 0x120A)))
    options = ("train.optimizer.lr=0.02", "train.recovery.window=20", "run.evaluate_every=1000 steps")
    job = make_job("strange", 120, *options, "train.recovery.on_spike=skip")
    outcomes, printed = attempts(job)
    assert outcomes == ["0"], printed
    assert len(skipped(job)) == 1, printed
    assert "loss" in printed


def test_the_limit_stops_the_run_with_its_weights_saved(make_job, attempts, poison) -> None:
    poison("5=nan,6=nan,9=inf")
    job = make_job("limited", 20, SKIP, "train.recovery.limit=2")
    outcomes, printed = attempts(job)
    assert outcomes == ["1"]
    assert "after 2 recoveries (train.recovery.limit)" in printed
    assert CheckpointStore(job.run).resolve("last").step == read_status(job.run).step == 7
    assert attempts(job)[0] == ["1"], "a resumed run counts on"


def test_spikes_stand_out_of_the_window() -> None:
    asked = Recovery(on_spike="skip", window=8, threshold=3)
    recent: list[tuple[float, float]] = []
    for loss in (2.0, 2.1, 1.9):
        recent = remembered(asked, recent, (loss, 1.0 + loss / 10))
    assert spike(asked, recent, 9.0, 1.2) is None, "too few to judge by"
    recent = remembered(asked, recent, (2.0, 1.2))
    assert spike(asked, recent, 2.2, 1.21) is None
    assert str(spike(asked, recent, 9.0, 1.2)).startswith("loss 9")
    assert str(spike(asked, recent, 2.0, 7.0)).startswith("gradient norm 7")
    assert spike(asked, recent, 0.1, 0.1) is None, "below is no spike"
    for _ in range(20):
        recent = remembered(asked, recent, (1.0, 1.0))
    assert len(recent) == 8
    assert remembered(Recovery(), [], (1.0, 1.0)) == []


@pytest.mark.parametrize(
    ("asked", "bad", "recovered", "expected"),
    [
        (Recovery(), NonFinite(), 0, "stop"),
        (Recovery(on_nonfinite="skip"), NonFinite(), 9, "skip"),
        (Recovery(on_nonfinite="skip"), NonFinite(), 10, "stop"),
        (Recovery(on_nonfinite="skip", on_spike="rollback"), Spike(), 0, "rollback"),
    ],
)
def test_what_is_done_follows_from_the_spec(asked, bad, recovered, expected) -> None:
    assert action(asked, bad, recovered) == expected
