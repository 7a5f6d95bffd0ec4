"""The condition of runs, told by their process, their heartbeats and their own pace."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from subprocess import Popen

import pytest

from toolkit.store.health import HUNG_SECONDS, LATE_SECONDS, UNSEEN_SECONDS, Pulse, check_health
from toolkit.store.heartbeat import Heartbeat, beat
from toolkit.store.lease import hold, read_holder
from toolkit.store.runs import RunFolder
from toolkit.store.status import Status, write_status

HOLDER = """
import sys
from pathlib import Path
from toolkit.store.lease import hold
from toolkit.store.runs import RunFolder
from toolkit.store.status import Status, write_status
run = RunFolder(Path(sys.argv[1]), "gpt_small")
with hold(run):
    write_status(run, Status(state="running", step=3))
    print("held", flush=True)
    sys.stdin.read()
"""


def running(run: RunFolder, seconds_ago: float, step_seconds: float) -> Status:
    """A run that gave its last sign so long ago, and whose steps take so long."""
    when = time.time() - seconds_ago
    status = Status(state="running", step=10, time=when, metrics={"perf/step_seconds": step_seconds})
    write_status(run, status)
    heartbeat = Heartbeat(rank=0, step=10, phase="training", time=when, pid=os.getpid(), host="here")
    (run.heartbeat / "rank-0.json").write_text(heartbeat.model_dump_json())
    holder = json.loads(run.lease.read_text())
    run.lease.write_text(json.dumps({**holder, "since": when - 100}))
    return status


@pytest.mark.parametrize(
    ("silent", "step", "condition"),
    [
        (1, 0.1, "running"),
        (LATE_SECONDS + 2, 0.1, "slow"),
        (LATE_SECONDS + 2, 4.0, "running"),
        (HUNG_SECONDS + 2, 0.1, "hung"),
        (HUNG_SECONDS + 2, 4.0, "slow"),
        (HUNG_SECONDS + 2, 20.0, "running"),
        (250, 20.0, "hung"),
    ],
)
def test_silence_is_measured_in_steps_of_the_run(
    run: RunFolder, silent: float, step: float, condition: str
) -> None:
    with hold(run):
        running(run, silent, step)
        health, _ = check_health(run)
        assert health.condition == condition
        assert bool(health.reason) == (condition != "running")


def test_steps_that_take_longer_than_usual_are_slow(run: RunFolder) -> None:
    with hold(run):
        status = running(run, 0, 0.5)
        assert Pulse(run).take(status, usual=0.4).condition == "running"
        assert Pulse(run).take(status, usual=0.2) == ("slow", "a step takes 0.5 s instead of 0.2 s")


def test_one_silent_rank_hangs_the_run(run: RunFolder) -> None:
    with hold(run):
        running(run, 0, 0.1)
        beat(run, 10, "training", rank=1)
        assert check_health(run)[0].condition == "running"
        late = Heartbeat(
            rank=1, step=9, phase="training", time=time.time() - 60, pid=1, host="other"
        ).model_dump_json()
        (run.heartbeat / "rank-1.json").write_text(late)
        assert check_health(run)[0].condition == "hung"


def test_a_stopped_process_is_hung_and_a_killed_one_dead(
    run: RunFolder, python: Callable[..., "Popen[str]"]
) -> None:
    process = python("-c", HOLDER, run.root)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        assert check_health(run)[0].condition == "running"
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        health, _ = check_health(run)
        assert health.condition == "hung"
        assert "stopped by a signal" in health.reason
        os.kill(process.pid, signal.SIGCONT)
    finally:
        process.kill()
        process.wait()
    assert check_health(run)[0].condition == "dead"


def elsewhere(run: RunFolder) -> None:
    """Have another host hold the run."""
    holder = read_holder(run)
    assert holder is not None
    away = {**asdict(holder), "process": {**asdict(holder.process), "host": "node-7"}}
    run.lease.write_text(json.dumps(away))


def test_a_run_on_another_host_is_judged_by_changes_not_by_its_clock(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("toolkit.store.health.time.monotonic", lambda: now[0])
    with hold(run):
        running(run, 0, 1.0)
        elsewhere(run)
        pulse = Pulse(run)
        for hour in (-1, 1):  # its clock is an hour off, either way
            status = running(run, hour * 3600, 1.0)
            elsewhere(run)
            pulse.take(status)
            now[0] += 1
        assert pulse.take(status).condition == "running"
        now[0] += 30
        assert pulse.take(status).condition == "hung"
        now[0] += UNSEEN_SECONDS
        assert pulse.take(status) == ("dead", "no sign of life from node-7 for 91 s")


def test_a_foreign_run_at_first_look_needs_a_recent_sign(run: RunFolder) -> None:
    with hold(run):
        running(run, 1, 1.0)
        elsewhere(run)
        assert check_health(run)[0].condition == "running"
        running(run, 1000, 1.0)
        elsewhere(run)
        assert check_health(run)[0].condition == "dead"
