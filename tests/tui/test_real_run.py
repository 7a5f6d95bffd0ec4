"""A real `tk run`, watched and steered from the dashboard."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from terminal import ROOT
from test_keys import tell, until
from textual.pilot import Pilot

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.runs import RunFolder
from tui.app import DashApp
from tui.library import Library
from tui.lines import plain
from tui.state import Desk

SPEC = """\
name = "tiny"

[data]
sequence_length = 32
validation = 0.2
tokenizer = {{ kind = "bytes" }}
sources = [{{ kind = "files", path = "{texts}" }}]

[model]
kind = "gpt"
n_layers = 1
d_model = 32
n_heads = 2

[objective]
kind = "causal_lm"

[train]
duration = "100000 steps"
batch = "4 rows"

[run]
device = "cpu"
precision = "float32"
checkpoint_every = "1000000 steps"
evaluate_every = "1000000 steps"
"""


TUNE = """\
name = "tuned"
parent = "tiny"

[finetune.mood]
kind = "classify"
data = { kind = "files", path = "rows.jsonl" }
duration = "4 steps"
batch = "4 rows"

[run]
device = "cpu"
precision = "float32"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec of a tiny model, in which `tk` works."""
    texts = tmp_path / "texts"
    texts.mkdir()
    words, rng = ["lorem", "ipsum", "dolor", "sit", "amet"], random.Random(0)
    for number in range(20):
        (texts / f"{number}.txt").write_text(" ".join(rng.choices(words, k=80)))
    (tmp_path / "tiny.toml").write_text(SPEC.format(texts=texts))
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("PYTHONPATH", str(ROOT)),
        ("OMP_NUM_THREADS", "1"),
        ("TK_CACHE", str(tmp_path / "cache")),
        ("TK_RUNS", "runs"),
    ):
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def running(place: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """`tk run` of a tiny spec that would take hours; its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "toolkit", "run", "tiny.toml"], stdout=subprocess.DEVNULL
    )
    yield process
    for holder in (process.pid, pid_of(Library(Path("runs")))):
        if holder:
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
    process.wait()


def pid_of(library: Library) -> int | None:
    """The process that holds the run."""
    from toolkit.store.lease import read_holder

    holder = read_holder(RunFolder(library.root, "tiny"))
    return holder.process.pid if holder else None


def condition(desk: Desk) -> str:
    run = desk.library.runs.get("tiny/pretrain")
    return run.health.condition if run else "none"


@pytest.mark.slow
def test_a_run_is_watched_asked_stopped_and_resumed(running: "subprocess.Popen[bytes]") -> None:
    Path("runs").mkdir(exist_ok=True)
    store = CheckpointStore(RunFolder(Path("runs"), "tiny"))

    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        def step() -> int:
            run = desk.library.runs.get("tiny/pretrain")
            return run.step or 0 if run else 0

        await until(pilot, lambda: condition(desk) == "running" and step() > 20, 120)
        desk.at = "tiny/pretrain"
        before = len(store.list())
        await pilot.press("K")
        await until(pilot, lambda: "took up the request to save" in desk.note, 20)
        await until(pilot, lambda: len(store.list()) > before, 20)
        saved = store.list()[-1].step
        await pilot.press("ctrl+d", "y")
        await until(pilot, lambda: condition(desk) == "stopped", 30)
        assert running.wait(20) == 75
        stopped = step()
        assert stopped >= saved
        await pilot.press("R")
        await until(pilot, lambda: condition(desk) == "running" and step() > stopped, 120)

    tell(Desk(Library(Path("runs"))), story)
    # The dashboard is gone; what it started goes on.
    library = Library(Path("runs"))
    pid = pid_of(library)
    assert pid is not None
    os.kill(pid, 0)
    first = wait_for_step(library, 0)
    assert wait_for_step(library, first) > first


def wait_for_step(library: Library, beyond: int) -> int:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        library.list()
        step = library.runs["tiny/pretrain"].step or 0
        if step > beyond:
            return step
        time.sleep(0.2)
    raise AssertionError("it does not go on")


def seen(library: Library, holds: Callable[[str], bool], seconds: float) -> float:
    """After how many seconds of looking once a second the run's condition was so."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        library.list()
        run = library.runs.get("tiny/pretrain")
        if run is not None and holds(run.health.condition):
            return time.monotonic() - began
        time.sleep(0.5)
    raise AssertionError(library.runs)


@pytest.mark.slow
def test_a_stopped_process_is_hung_and_a_killed_one_dead_within_15_s(
    running: "subprocess.Popen[bytes]",
) -> None:
    library = Library(Path("runs"))
    Path("runs").mkdir(exist_ok=True)
    seen(library, lambda condition: condition == "running", 120)
    pid = pid_of(library)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    seen(library, lambda condition: condition == "hung", 15)
    os.kill(pid, signal.SIGCONT)
    seen(library, lambda condition: condition == "running", 30)
    os.kill(pid, signal.SIGKILL)
    assert seen(library, lambda condition: condition == "dead", 20) < 15


@pytest.mark.slow
def test_a_checkpoint_is_verified_exported_and_fine_tuned_from_the_lineage(place: Path) -> None:
    (place / "tune.toml").write_text(TUNE)
    rows = [
        {"text": f"lorem {word} {number}", "label": word} for number in range(20) for word in ("sad", "gay")
    ]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [sys.executable, "-m", "toolkit", "run", "tiny.toml", "train.duration=6 steps"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    (made,) = CheckpointStore(RunFolder(Path("runs"), "tiny")).list()

    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        def names() -> list[str]:
            return [row.export or row.node.key for _, row in desk.lineage.rows if row.held is None]

        await pilot.press("4", "down")
        assert desk.lineage.current
        assert desk.lineage.current.checkpoint == made
        await pilot.press("c")
        await until(pilot, lambda: "is intact" in desk.note, 20)
        assert " intact " in plain(app.canvas.lines)

        await pilot.press("e", *"exported", "enter")
        await until(pilot, lambda: desk.note.startswith("tk export "), 120)
        assert desk.note.startswith("tk export is done"), desk.note
        await until(pilot, lambda: str(place / "exported") in names())
        assert "export " in plain(app.canvas.lines)

        await pilot.press("t", *"tune.toml", "enter")
        await until(pilot, lambda: desk.note.startswith("tk run "), 240)
        assert desk.note.startswith("tk run is done"), desk.note
        await until(pilot, lambda: "tuned/mood" in names())
        await until(pilot, lambda: desk.library.runs["tuned/mood"].health.condition == "finished")

    tell(Desk(Library(Path("runs"))), story)
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(place / "exported").config.num_hidden_layers == 1
    tuned = CheckpointStore(RunFolder(Path("runs"), "tuned", "mood")).list()
    assert tuned[-1].step == 4
    assert [parent.id for parent in tuned[0].parents] == [made.id]
