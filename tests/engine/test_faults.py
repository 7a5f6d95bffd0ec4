"""What can go wrong around a run, and what is left then."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.lease import hold
from toolkit.store.status import read_status


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "runs"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_second_writer_is_told_who_holds_the_run(make_job, attempts) -> None:
    job = make_job("held", 5)
    job.run.create()
    with hold(job.run):
        outcomes, printed = attempts(job)
    assert outcomes == ["1"], printed
    assert f"held/pretrain is held by process {os.getpid()}" in printed
    assert not CheckpointStore(job.run).list()


def test_a_full_disk_keeps_the_last_good_checkpoint(make_job, attempts, small_disk: Path) -> None:
    job = make_job("full", 40, "run.checkpoint_every=5 steps")
    job.run.create()
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (1 << 20))
    outcomes, printed = attempts(job)
    kept = CheckpointStore(job.run).newest_good(lambda error, path: pytest.fail(str(error)))
    failures = [e for e in read_events(job.run) if e["kind"] == "checkpoint_failed"]
    assert outcomes == ["1"]
    assert failures
    assert kept is not None
    assert "no space left for the checkpoint of step" in printed
    assert "The earlier checkpoints are intact" in printed
    ballast.unlink()
    assert attempts(job)[0] == ["0"]
    assert CheckpointStore(job.run).resolve("last").step == 40


def test_a_loss_that_is_not_a_number_stops_before_the_optimizer(make_job, attempts) -> None:
    job = make_job("overflow", 40, "train.optimizer.kind=adamw", "train.optimizer.lr=1e30")
    outcomes, printed = attempts(job)
    assert outcomes == ["1"]
    status = read_status(job.run)
    assert status.state == "failed"
    assert "loss" in status.reason
    assert "loss" in printed
    assert CheckpointStore(job.run).resolve("last").step == status.step < 40


def test_a_bad_checkpoint_is_passed_over_and_named(make_job, attempts) -> None:
    job = make_job("torn", 30)
    assert attempts(job)[0] == ["0"]
    last = CheckpointStore(job.run).resolve("last")
    weights = last.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    longer = make_job("torn", 30)
    outcomes, printed = attempts(longer)
    assert outcomes == ["0"]
    assert "weights.safetensors" in printed
    assert any(event["kind"] == "corrupt" for event in read_events(job.run))
    again = CheckpointStore(job.run).resolve("last")
    assert again.step == last.step
    assert again.files["weights.safetensors"] == last.files["weights.safetensors"]
