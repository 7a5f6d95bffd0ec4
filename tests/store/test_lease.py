import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from subprocess import Popen

import pytest

from toolkit.store.errors import LeaseLost, RunHeld
from toolkit.store.heartbeat import beat
from toolkit.store.lease import Holder, hold, read_holder
from toolkit.store.process import Process
from toolkit.store.runs import RunFolder

HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from toolkit.store.lease import hold
from toolkit.store.runs import RunFolder
with hold(RunFolder(Path(sys.argv[1]), "gpt_small")):
    if sys.argv[2] == "fork":
        if os.fork() == 0:
            time.sleep(30)
    elif sys.argv[2] == "exec":
        nothing = subprocess.DEVNULL
        subprocess.Popen(["sleep", "30"], close_fds=False, stdin=nothing, stdout=nothing)
    print("held", flush=True)
    sys.stdin.read()
"""

RACER = """
import sys, time
from pathlib import Path
from toolkit.store.errors import RunHeld
from toolkit.store.lease import hold
from toolkit.store.runs import RunFolder
run = RunFolder(Path(sys.argv[1]), "gpt_small")
counter, won = run.path / "counter", 0
end = time.monotonic() + 20
while won < 25 and time.monotonic() < end:
    try:
        with hold(run) as lease:
            before = int(counter.read_text())
            time.sleep(0.0005)
            lease.check()
            counter.write_text(str(before + 1))
            won += 1
    except RunHeld:
        time.sleep(0.0005)
print(won)
"""

Start = Callable[..., "Popen[str]"]


def held_elsewhere(run: RunFolder, python: Start, how: str = "plain") -> "Popen[str]":
    process = python("-c", HOLDER, run.root, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def forge(run: RunFolder, process: Process) -> None:
    run.lease.write_text(json.dumps(asdict(Holder(process, "0" * 32, time.time()))))


def test_the_second_is_told_who_holds_the_run(run: RunFolder, python: Start) -> None:
    process = held_elsewhere(run, python)
    holder = read_holder(run)
    assert holder is not None
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    with pytest.raises(RunHeld) as caught, hold(run):
        pass
    assert str(caught.value) == (
        f"gpt_small/pretrain is held by process {process.pid} on {socket.gethostname()}, since {since}. "
        "Stop it with `tk stop gpt_small/pretrain`, or wait until it is done."
    )
    process.communicate("")
    with hold(run):
        pass
    assert not run.lease.exists()


def test_the_same_process_cannot_hold_twice(run: RunFolder) -> None:
    with hold(run), pytest.raises(RunHeld), hold(run):
        pass


@pytest.mark.parametrize("how", ["plain", "fork", "exec"])
def test_a_killed_holder_leaves_nothing_in_the_way(run: RunFolder, python: Start, how: str) -> None:
    """Nor do children that it forked or started, which live on."""
    process = held_elsewhere(run, python, how)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with hold(run) as lease:
        lease.check()
    process.wait()


def test_a_reused_pid_is_not_the_holder(run: RunFolder) -> None:
    forge(run, replace(Process.current(), pid=os.getppid(), started=1.0))
    with hold(run) as lease:
        lease.check()


def test_a_lease_from_before_a_reboot_is_stale(run: RunFolder) -> None:
    forge(run, replace(Process.current(), pid=1, boot="an earlier boot"))
    with hold(run) as lease:
        lease.check()


def test_a_living_holder_is_respected_where_the_lock_is_not(run: RunFolder, python: Start) -> None:
    """Some network file systems grant flock to everyone. A new lock file has the same effect."""
    process = held_elsewhere(run, python)
    run.lock.unlink()
    with pytest.raises(RunHeld, match=f"process {process.pid}"), hold(run):
        pass
    process.communicate("")


def test_a_silent_holder_on_another_host_is_taken_over(run: RunFolder) -> None:
    for heartbeats in range(2):
        forge(run, replace(Process.current(), host="elsewhere"))
        if heartbeats:
            beat(run, 5, "train")
        with hold(run, patience=0.2) as lease:
            lease.check()


def test_a_beating_holder_on_another_host_is_respected(run: RunFolder) -> None:
    forge(run, replace(Process.current(), host="elsewhere"))
    done = threading.Event()

    def live() -> None:
        step = 0
        while not done.wait(0.02):
            step += 1
            beat(run, step, "train")

    beating = threading.Thread(target=live)
    beat(run, 0, "train")
    beating.start()
    try:
        with pytest.raises(RunHeld, match="on elsewhere, since"), hold(run, patience=5):
            pass
    finally:
        done.set()
        beating.join()


@pytest.mark.parametrize("left", ["", '{"nonce": "a', "[]", '{"nonce": "a", "since": 1, "process": {}}'])
def test_half_a_lease_is_none(run: RunFolder, left: str) -> None:
    run.lease.write_text(left)
    with hold(run) as lease:
        lease.check()


def test_one_who_was_taken_over_notices_and_keeps_off(run: RunFolder) -> None:
    with hold(run) as lease:
        forge(run, replace(Process.current(), host="elsewhere", pid=77))
        with pytest.raises(LeaseLost, match="gpt_small/pretrain was taken over by process 77 on elsewhere"):
            lease.check()
    holder = read_holder(run)
    assert holder is not None
    assert holder.process.pid == 77


def test_a_run_removed_under_its_holder_is_noticed(run: RunFolder) -> None:
    with hold(run) as lease:
        shutil.rmtree(run.path)
        with pytest.raises(LeaseLost, match="no longer holds gpt_small/pretrain"):
            lease.check()


def test_what_killed_writers_left_is_removed(run: RunFolder) -> None:
    left = [run.path / ".status.json.12ab34cd.tmp", run.heartbeat / ".rank-0.json.12ab34cd.tmp"]
    for path in left:
        path.write_bytes(b"half")
    with hold(run):
        assert not any(path.exists() for path in left)


def test_races_have_one_winner_at_a_time(run: RunFolder, python: Start) -> None:
    (run.path / "counter").write_text("0")
    racers = [python("-c", RACER, run.root) for _ in range(4)]
    won = sum(int(racer.communicate()[0]) for racer in racers)
    assert won == int((run.path / "counter").read_text())
    assert won >= 50
