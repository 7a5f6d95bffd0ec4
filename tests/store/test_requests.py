from pathlib import Path

import pytest

from toolkit.store.errors import UnknownRun
from toolkit.store.events import append_event, read_events
from toolkit.store.requests import acknowledge, ask, clear, pending
from toolkit.store.runs import RunFolder


def test_asked_seen_acknowledged_gone(run: RunFolder) -> None:
    append_event(run, "created")
    assert pending(run) == []
    ask(run, "checkpoint", by="dashboard")
    ask(run, "stop")
    first, second = pending(run)
    assert (first.kind, first.by, second.kind, second.by) == ("checkpoint", "dashboard", "stop", "user")
    acknowledge(run, first)
    assert [request.kind for request in pending(run)] == ["stop"]
    assert read_events(run)[-1]["asks"] == "checkpoint"
    clear(run)
    assert pending(run) == []


def test_a_file_touched_by_hand_is_a_request(run: RunFolder) -> None:
    (run.requests / "stop").touch()
    (request,) = pending(run)
    assert (request.kind, request.by) == ("stop", "a file")


def test_other_files_and_links_are_not(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (run.requests / "stop.json").symlink_to(tmp_path / "target")
    (run.requests / ".stop-12ab34cd.json.99.tmp").touch()
    (run.requests / "stop-please").touch()
    (run.requests / "README").touch()
    (run.requests / "checkpoint").mkdir()
    assert pending(run) == []


def test_a_run_that_was_never_started_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(UnknownRun):
        ask(RunFolder(tmp_path, "nothing"), "stop")


def test_a_run_without_the_folder_has_no_requests(tmp_path: Path) -> None:
    assert pending(RunFolder(tmp_path, "nothing")) == []
