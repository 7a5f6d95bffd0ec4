"""The Lineage screen: what it shows of an ancestry, and how little it reads to keep that up to date."""

import json
import shutil
import time
from pathlib import Path

from conftest import look
from test_keys import tell
from textual.pilot import Pilot
from worlds import WALL, checkpoint, finished_run

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.manifest import Checkpoint, Parent
from toolkit.store.runs import RunFolder
from tui.app import DashApp
from tui.compose import compose
from tui.lines import plain
from tui.state import Desk


def child(root: Path, name: str, stage: str, parent: Checkpoint, of: str) -> Checkpoint:
    """A finished run that starts from a checkpoint, with a checkpoint of its own."""
    run = finished_run(root, name, 1, steps=60, wall=WALL, stage=stage)
    record = {"run": of, "checkpoint": parent.id, "step": parent.step, "fingerprint": "f" * 64, "flops": 7e9}
    run.plan.write_text(json.dumps({"parent": record}))
    return checkpoint(run, 60, 1.7, [Parent(parent.id, "init")])


def screen(desk: Desk, columns: int = 160) -> str:
    desk.page = "lineage"
    return plain(compose(desk, columns, 40))


def test_a_missing_ancestor_is_named_with_what_its_child_tells(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first = checkpoint(finished_run(root, "gpt", 0, steps=60, wall=WALL), 60, 2.0)
    last = child(root, "gpt", "chat", first, "gpt/pretrain")
    child(root, "gpt", "polite", last, "gpt/chat")
    shutil.rmtree(root / "gpt" / "pretrain")
    desk = look(root)
    lines = screen(desk).splitlines()
    assert lines[2].split()[:3] == ["gpt/pretrain", "(ffffffff)", "missing"]
    assert "is not here: copy its run's folder" in "\n".join(lines)
    desk.lineage.at = next(i for i, (_, row) in enumerate(desk.lineage.rows) if row.node.key == "gpt/polite")
    assert f"gpt/pretrain step 60 {first.id[:12]} missing" in screen(desk)
    # 60 and 60 GFLOP of its own and of its parent, and 7 that the parent wrote down.
    row = next(line for line in screen(desk).splitlines() if "└─ gpt/polite" in line)
    assert "127 GFLOP" in row


def test_of_one_run_opened_alone_the_ancestors_are_shown(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first = checkpoint(finished_run(root, "gpt", 0, steps=60, wall=WALL), 60, 2.0)
    child(root, "gpt", "chat", first, "gpt/pretrain")
    checkpoint(finished_run(root, "other", 0, steps=60, wall=WALL), 60, 2.0)
    desk = look(root / "gpt" / "chat")
    assert [row.node.key for _, row in desk.lineage.rows if row.held is None] == ["gpt/pretrain", "gpt/chat"]
    assert "other" not in screen(desk)


def test_deleted_checkpoints_are_folded_until_they_are_asked_for(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "runs", "long", 0, steps=60, wall=WALL)
    for step in range(1, 13):
        checkpoint(run, step, 3 - step / 100)
    CheckpointStore(run).prune(last=2, best=1)

    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("4")
        assert "… 10 deleted" in plain(app.canvas.lines)
        assert len(desk.lineage.rows) == 4
        await pilot.press("down", "e")
        assert desk.note == "put the cursor on a run or a checkpoint"
        await pilot.press("enter")
        assert len(desk.lineage.rows) == 13
        assert plain(app.canvas.lines).count("deleted") >= 10

    tell(look(tmp_path / "runs"), story)


def test_the_cursor_stays_on_its_row_when_something_comes_above(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    run = finished_run(root, "a", 0, steps=60, wall=WALL)
    checkpoint(run, 10, 2.0)
    checkpoint(finished_run(root, "b", 0, steps=60, wall=WALL), 10, 2.0)
    desk = look(root)
    desk.lineage.at = 2
    assert desk.lineage.current
    assert desk.lineage.current.node.key == "b/pretrain"
    checkpoint(run, 20, 1.9)
    assert desk.lineage.update()
    assert desk.lineage.at == 3
    assert desk.lineage.current.node.key == "b/pretrain"


def test_five_hundred_runs_are_read_again_only_when_something_changed(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first = checkpoint(finished_run(root, "gpt", 0, steps=60, wall=WALL), 60, 2.0)
    child(root, "many", "run-0", first, "gpt/pretrain")
    for number in range(1, 499):
        shutil.copytree(root / "many" / "run-0", root / "many" / f"run-{number}")
    desk = look(root)
    began = time.process_time()
    assert len(desk.lineage.rows) == 500 + 500
    assert time.process_time() - began < 1.5
    screen(desk)
    idle, drawn = [], []
    for _ in range(10):
        began = time.process_time()
        assert not desk.lineage.update()
        idle.append(time.process_time() - began)
        began = time.process_time()
        screen(desk)
        drawn.append(time.process_time() - began)
    assert min(idle) < 0.02
    assert min(drawn) < 0.02
    checkpoint(RunFolder(root, "many", "run-7"), 90, 1.5)
    assert desk.lineage.update()
    assert len(desk.lineage.rows) == 500 + 501
