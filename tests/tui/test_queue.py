"""Runs that SLURM has queued or requeued, told by a `squeue` that is a script here."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import look
from test_keys import tell, until
from test_terminal import printed
from textual.pilot import Pilot
from worlds import WALL, finished_run

from toolkit.store.runs import RunFolder
from toolkit.store.slurm import write_submission
from toolkit.store.status import Status, write_status
from tui import queue
from tui.act import NotPossible, request, resume
from tui.app import DashApp
from tui.compose import compose
from tui.library import Library
from tui.lines import plain
from tui.state import Desk

Squeue = Callable[[str], Path]


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Squeue:
    """Puts a `squeue` on the PATH that answers so; the file has a line for each time it was asked."""
    asked = tmp_path / "asked"
    asked.touch()

    def install(answer: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "squeue"
        script.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n{answer}\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return asked

    return install


@pytest.fixture
def submitted(tmp_path: Path) -> Path:
    """A run that only waits in the queue, one that was stopped and queued again, one that is done."""
    root = tmp_path / "runs"
    fresh = RunFolder(root, "fresh")
    fresh.create()
    write_submission(fresh, 11, "fresh.sh")
    again = finished_run(root, "again", 1, steps=60, wall=WALL)
    write_status(again, Status(state="stopped", step=60, steps=100, time=WALL + 60, reason="preempted"))
    write_submission(again, 12, "again.sh")
    write_submission(finished_run(root, "done", 2, steps=60, wall=WALL), 9, "done.sh")
    return root


ANSWER = "echo '11 PENDING 0 Priority'\necho '12 PENDING 2 BeginTime'\necho '77 RUNNING 0 None'"


def test_queued_and_requeued_runs_are_shown_with_their_job(submitted: Path, squeue: Squeue) -> None:
    squeue(ANSWER)
    library = Library(submitted)
    library.list()
    library.queue.ask(library.folders)
    library.list()
    health = {name: run.health for name, run in library.runs.items()}
    assert health["fresh/pretrain"] == ("queued", "job 11: Priority")
    assert health["again/pretrain"] == ("requeued", "job 12: BeginTime")
    assert health["done/pretrain"].condition == "finished"
    text = plain(compose(Desk(library), 100, 30))
    assert "1 queued" in text
    assert "… requeued" in text
    assert library.runs["again/pretrain"].seconds_left is None
    for ask in (lambda run: request(run, "stop"), resume):
        with pytest.raises(NotPossible, match="is requeued: "):
            ask(library.runs["again/pretrain"])
    printed_text = printed(submitted).stdout
    assert "… queued" in printed_text


def test_slurm_is_asked_seldom_and_holds_nothing_up(
    submitted: Path, squeue: Squeue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = squeue(f"sleep 2\n{ANSWER}")

    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        began = time.monotonic()
        await pilot.press("2", "1", "down")
        assert time.monotonic() - began < 1.5, "keys work while SLURM thinks"
        conditions = {run.health.condition for run in desk.library.runs.values()}
        assert conditions == {"empty", "stopped", "finished"}, "what is known before it answers"
        await until(pilot, lambda: desk.library.runs["fresh/pretrain"].health.condition == "queued")
        await pilot.pause(2.5)
        assert len(asked.read_text().splitlines()) == 1
        monkeypatch.setattr(queue, "SECONDS", 0.5)
        await until(pilot, lambda: len(asked.read_text().splitlines()) > 1)

    tell(Desk(Library(submitted)), story)


def test_without_submitted_runs_nobody_is_asked(tmp_path: Path, squeue: Squeue) -> None:
    asked = squeue(ANSWER)
    finished_run(tmp_path / "runs", "done", 0, wall=WALL)
    library = look(tmp_path / "runs").library
    library.queue.ask(library.folders)
    assert asked.read_text() == ""


def test_a_job_that_began_or_is_over_is_told_so(submitted: Path, squeue: Squeue) -> None:
    squeue("echo '11 RUNNING 0 None'\necho '12 COMPLETED 0 None'")
    library = Library(submitted)
    library.list()
    library.queue.ask(library.folders)
    library.list()
    assert library.runs["fresh/pretrain"].health == ("running", "job 11 has begun")
    assert library.runs["again/pretrain"].health == ("stopped", "preempted")
