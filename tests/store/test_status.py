import math
import os
import signal
from collections.abc import Callable
from subprocess import Popen
from typing import Literal

import pytest

from toolkit.store.errors import BadFile
from toolkit.store.events import append_event, read_events
from toolkit.store.health import check_health
from toolkit.store.heartbeat import beat, read_heartbeats
from toolkit.store.lease import hold
from toolkit.store.runs import RunFolder
from toolkit.store.status import Best, Status, read_status, write_status

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


def test_status_round_trips_with_values_that_are_no_numbers(run: RunFolder) -> None:
    assert read_status(run) is None
    written = Status(
        state="failed",
        step=7,
        steps=10,
        reason="loss is not finite",
        metrics={"train/loss": math.nan, "train/grad_norm": math.inf, "val/loss": 2.5},
        best=Best(metric="val/loss", value=2.5, step=5),
    )
    write_status(run, written)
    back = read_status(run)
    assert back is not None
    assert math.isnan(back.metrics["train/loss"])
    assert back.metrics["train/grad_norm"] == math.inf
    assert back.model_copy(update={"metrics": {}}) == written.model_copy(update={"metrics": {}})


def test_status_of_a_newer_tk_is_read(run: RunFolder) -> None:
    run.status.write_text('{"state": "running", "step": 5, "time": 1.0, "pid": 1, "host": "a", "later": [1]}')
    status = read_status(run)
    assert status is not None
    assert status.step == 5


def test_a_bad_status_names_file_and_field(run: RunFolder) -> None:
    run.status.write_text('{"state": "flying"}')
    with pytest.raises(BadFile) as caught:
        read_status(run)
    assert str(caught.value).startswith(f"{run.status}: state: Input should be 'preparing'")


@pytest.mark.parametrize("left", [b"", b"\0" * 200])
def test_a_status_blanked_by_a_power_loss_is_none(run: RunFolder, left: bytes) -> None:
    run.status.write_bytes(left)
    assert read_status(run) is None
    assert check_health(run)[0].condition == "empty"


def test_a_run_whose_process_was_killed_is_dead(run: RunFolder, python: Callable[..., "Popen[str]"]) -> None:
    assert check_health(run)[0].condition == "empty"
    process = python("-c", HOLDER, run.root)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert check_health(run)[0].condition == "running"
    os.kill(process.pid, signal.SIGKILL)
    # Before it is waited for it is a zombie, which has the pid and the start time of the living.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert check_health(run)[0].condition == "dead"
    process.wait()
    assert check_health(run)[0].condition == "dead"


@pytest.mark.parametrize("state", ["stopped", "failed", "finished"])
def test_a_run_that_ended_is_what_it_says(
    run: RunFolder, state: Literal["stopped", "failed", "finished"]
) -> None:
    with hold(run):
        write_status(run, Status(state="running"))
        assert check_health(run)[0].condition == "running"
        write_status(run, Status(state=state))
    assert check_health(run)[0].condition == state


def test_heartbeats_by_rank(run: RunFolder) -> None:
    for rank in (1, 0):
        beat(run, step=4, phase="train", rank=rank)
    beat(run, step=5, phase="evaluate")
    (run.heartbeat / "rank-2.json").write_bytes(b"")
    assert [(one.rank, one.step, one.phase) for one in read_heartbeats(run)] == [
        (0, 5, "evaluate"),
        (1, 4, "train"),
    ]


def test_events_survive_a_tear_at_every_byte(run: RunFolder) -> None:
    for step in range(3):
        append_event(run, "checkpoint", step=step, note="a\nb" * step)
    whole = run.events.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        run.events.write_bytes(whole[:cut])
        kept = list(range(sum(end <= cut for end in ends)))
        assert [event["step"] for event in read_events(run)] == kept
        append_event(run, "resumed", step=9)
        steps = [event["step"] for event in read_events(run)]
        # Cut just before its newline, an event is whole after all once the next line begins.
        assert steps in ([*kept, 9], [*kept, len(kept), 9])
