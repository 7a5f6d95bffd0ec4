"""`tk board`: TensorBoard on a runs folder, for this machine only, every point shown."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from toolkit.store.runs import RunFolder
from toolkit.store.tfevents import EventWriter

POINTS = 3000
"""More than the thousand that TensorBoard shows of a curve by default."""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "runs", "gpt")
    folder.create()
    writer = EventWriter(folder.path)
    for step in range(POINTS):
        writer.scalars(step, {"train/loss": 1 / (step + 1)}, 1_700_000_000 + step)
    writer.close()
    return folder.root


@pytest.fixture
def board(runs: Path) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit", "board", str(runs), "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    for one in family(process.pid):
        one.kill()
    process.wait()
    assert process.stderr
    process.stderr.close()


def family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def listening(pid: int) -> list[tuple[str, int]]:
    """Addresses that the process and its children listen at."""
    found = []
    for one in family(pid):
        try:
            found += [tuple(c.laddr) for c in one.net_connections() if c.status == psutil.CONN_LISTEN]
        except psutil.Error:
            continue
    return found


def ask(port: int, path: str, **fields: bytes) -> Any:
    """What TensorBoard's pages ask for. Fields are posted, as of a form."""
    data = urllib.parse.urlencode(fields).encode() if fields else None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}", data, timeout=5) as answer:
        return json.load(answer)


def until_served(board: "subprocess.Popen[str]", seconds: float = 120) -> int:
    """The port, once TensorBoard has read the run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert board.poll() is None, board.stderr and board.stderr.read()
        for _, port in listening(board.pid):
            try:
                if ask(port, "plugin/scalars/tags"):
                    return port
            except (OSError, ValueError):
                continue
        time.sleep(0.2)
    raise AssertionError("it does not serve the run")


@pytest.mark.slow
def test_every_point_is_served_on_this_machine_only_until_it_ends(board: "subprocess.Popen[str]") -> None:
    port = until_served(board)
    assert {address for address, _ in listening(board.pid)} <= {"127.0.0.1", "::1"}
    assert list(ask(port, "plugin/scalars/tags")) == ["gpt/pretrain"]
    points = ask(port, "plugin/scalars/scalars?run=gpt%2Fpretrain&tag=train%2Floss")
    assert [step for _, step, _ in points] == list(range(POINTS))
    assert points[1][2] == pytest.approx(0.5)
    body = json.dumps([{"plugin": "scalars", "tag": "train/loss"}]).encode()
    (series,) = ask(port, "plugin/timeseries/timeSeries", requests=body)
    (curve,) = series["runToSeries"].values()
    assert len(curve) == POINTS, "on the page of all time series too"
    all_of_it = family(board.pid)
    board.send_signal(signal.SIGTERM)
    gone, alive = psutil.wait_procs(all_of_it, timeout=20)
    assert not alive, f"{len(gone)} ended"
    said = board.stderr.read() if board.stderr else ""
    assert "Traceback" not in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "board", str(tmp_path / "nowhere")]
    result = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "is no folder" in result.stderr
