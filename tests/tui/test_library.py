"""Folders that are opened: those of tk, and logs of other programs."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import look
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from terminal import ROOT
from worlds import WALL, LiveRun, finished_run

from toolkit.store.tfevents import EventWriter
from tui.compose import compose
from tui.lines import plain
from tui.state import PAGES


def same_as_tensorboard(root: Path) -> int:
    """Assert that each run's points are those that TensorBoard reads; how many there are."""
    desk = look(root)
    count = 0
    for run in desk.library.runs.values():
        theirs = EventAccumulator(str(run.path), size_guidance={"scalars": 0})
        theirs.Reload()
        for tag in theirs.Tags()["scalars"]:
            wanted = theirs.Scalars(tag)
            points = run.points(tag)
            assert points is not None, (run.name, tag)
            assert points.steps.tolist() == [one.step for one in wanted]
            np.testing.assert_array_equal(points.values, np.array([one.value for one in wanted], np.float32))
            count += len(wanted)
    for page in PAGES:
        desk.page = page
        assert plain(compose(desk, 80, 24)).count("\n") == 23
    return count


def test_logs_of_torch(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for name in ("a", "deep/er/b"):
        with SummaryWriter(str(tmp_path / name)) as writer:
            for step in range(50):
                writer.add_scalar("Loss/train", 1 / (step + 1), step)
                writer.add_scalar("Loss/test", 2 / (step + 1), step, new_style=False)
                writer.add_scalars("pair", {"x": step, "y": -step}, step)
            writer.add_histogram("weights", np.arange(10.0), 1)
            writer.add_text("note", "words")
            writer.add_hparams({"lr": 0.1}, {"metric": 1.0})
    assert same_as_tensorboard(tmp_path) >= 2 * 200
    desk = look(tmp_path)
    assert {"a", "deep/er/b", "a/pair_x", "deep/er/b/pair_y"} <= set(desk.library.runs)
    assert desk.library.runs["a"].loss_tag == "Loss/train"
    assert desk.library.runs["a"].best == (pytest.approx(2 / 50), 49)


def test_logs_of_tensorboardx(tmp_path: Path) -> None:
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(tmp_path / "run")) as writer:
        for step in range(100):
            writer.add_scalar("loss", step**0.5, step)
    assert same_as_tensorboard(tmp_path) == 100


def test_logs_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            out = self.layer(x)[:, 0]
            return {"loss": ((out - labels) ** 2).mean(), "logits": out}

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs" / "run"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [{"x": torch.tensor([float(n), 1.0]), "labels": torch.tensor(float(n))} for n in range(16)]
    settings = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=12,
        logging_steps=2,
        per_device_train_batch_size=4,
        report_to=["tensorboard"],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    Trainer(model=Line(), args=settings, train_dataset=rows).train()
    assert same_as_tensorboard(tmp_path) > 10
    run = next(iter(look(tmp_path).library.runs.values()))
    assert run.loss_tag == "train/loss"
    assert run.health.condition == "running", "it was written just now"


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    desk = look(tmp_path)
    for page in PAGES:
        desk.page = page
        assert plain(compose(desk, 80, 24)).count("\n") == 23
    desk.page = "runs"
    assert "No runs" in plain(compose(desk, 80, 24))


def test_a_thousand_runs(tmp_path: Path) -> None:
    whole = tmp_path / "0000"
    writer = EventWriter(whole)
    for step in range(20):
        writer.scalars(step, {"loss": 1.0 / (step + 1)}, WALL + step)
    writer.close()
    for number in range(1, 1000):
        shutil.copytree(whole, tmp_path / f"{number:04}")
    began = time.process_time()
    desk = look(tmp_path)
    desk.sort = "loss"
    text = plain(compose(desk, 80, 24))
    assert time.process_time() - began < 4
    assert len(desk.library.runs) == 1000
    assert "1000 quiet" in text
    desk.move(500)
    assert " 0500 " in plain(compose(desk, 80, 24))


def test_500_runs_are_listed_within_a_second(tmp_path: Path) -> None:
    one = finished_run(tmp_path, "run000", 0, steps=20, wall=WALL)
    for number in range(1, 500):
        shutil.copytree(one.path.parent, tmp_path / f"run{number:03}")
    from tui.library import Library

    library = Library(tmp_path)
    began = time.process_time()
    library.list()
    assert time.process_time() - began < 1
    assert sum(run.health.condition == "finished" for run in library.runs.values()) == 500


def test_a_corrupt_file_costs_only_what_is_damaged(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "run")
    for step in range(200):
        writer.scalars(step, {"loss": step}, WALL)
    writer.close()
    data = bytearray(writer.path.read_bytes())
    data[4000:4050] = b"\xff" * 50
    writer.path.write_bytes(bytes(data))
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "events.out.tfevents.1.x").write_bytes(bytes(range(256)) * 40)
    desk = look(tmp_path)
    points = desk.library.runs["run"].points("loss")
    assert points is not None
    assert len(points.steps) >= 197
    assert {"noise", "run"} == set(desk.library.runs)
    for page in PAGES:
        desk.page = page
        compose(desk, 80, 24)


def test_a_run_a_name_and_a_runs_folder_can_be_named(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    finished_run(root, "gpt", 0, wall=WALL, steps=5)
    finished_run(root, "gpt", 0, wall=WALL, steps=5, stage="chat")
    finished_run(root, "other", 0, wall=WALL, steps=5)
    assert set(look(root).library.runs) == {"gpt/pretrain", "gpt/chat", "other/pretrain"}
    assert set(look(root / "gpt").library.runs) == {"gpt/pretrain", "gpt/chat"}
    assert set(look(root / "gpt" / "chat").library.runs) == {"gpt/chat"}


def test_runs_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.library.WALK", 0.0)
    monkeypatch.setattr("tui.library.SHARE", 1e9)
    finished_run(tmp_path, "first", 0, wall=WALL, steps=5)
    desk = look(tmp_path)
    finished_run(tmp_path, "second", 0, wall=WALL, steps=5)
    assert desk.library.list()
    assert set(desk.library.runs) == {"first/pretrain", "second/pretrain"}
    shutil.rmtree(tmp_path / "first")
    assert desk.library.list()
    assert set(desk.library.runs) == {"second/pretrain"}
    assert not desk.library.list()


def test_a_resumed_run_is_one_clean_curve_with_a_lost_part(tmp_path: Path) -> None:
    live = LiveRun(tmp_path, "gpt", 0)
    live.advance(60)
    live.events.close()
    live.step = 40
    live.events = EventWriter(live.folder.path, 41)
    live.advance(60)
    live.close()
    desk = look(tmp_path)
    run = desk.library.runs["gpt/pretrain"]
    points = run.points("train/loss")
    assert points is not None
    assert points.steps.tolist() == list(range(1, 101))
    from tui.pages.curves import chart_of

    desk.weight = 0
    chart = chart_of(desk, "train/loss", [run])
    assert [(trace.style, len(trace.x)) for trace in chart.traces] == [("lost", 20), ("series0", 100)]


def test_what_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """A run by `tk run --replace`, a log by whoever wrote it again: nothing of the old one stays."""
    finished_run(tmp_path, "run", 0, steps=100)
    old = EventWriter(tmp_path / "log")
    for step in range(100):
        old.scalars(step, {"loss": 5.0})
    old.close()
    first = old.path.rename(old.path.with_name("events.out.tfevents.1.first"))
    desk = look(tmp_path)
    for page in PAGES:
        desk.page = page
        compose(desk, 120, 40)
    (tmp_path / "run/pretrain").rename(tmp_path / "run/.old")
    finished_run(tmp_path, "run", 1, steps=60)
    first.unlink()
    new = EventWriter(tmp_path / "log")
    for step in range(10):
        new.scalars(step, {"loss": 1.0})
    new.close()
    desk.library.read()
    for name, tag, length in (("run/pretrain", "train/loss", 60), ("log", "loss", 10)):
        run = desk.library.runs[name]
        assert len(run.series[tag]) == length
        assert run.series[tag].lost == []
        assert len(desk.smoother(run, tag).update(run.series[tag].values)) == length
    for page in PAGES:
        desk.page = page
        compose(desk, 120, 40)


def test_a_child_waits_for_its_parent(tmp_path: Path) -> None:
    import json

    parent = LiveRun(tmp_path, "gpt", 0)
    parent.advance(5)
    child = LiveRun(tmp_path, "child", 1)
    child.folder.plan.write_text(json.dumps({"parent": {"run": "gpt/pretrain"}}))
    desk = look(tmp_path)
    health = desk.library.runs["child/pretrain"].health
    assert health == ("waiting", "for gpt/pretrain")
    parent.close()
    child.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["runs", "charts"])
def test_a_million_points_take_under_twenty_bytes_each(tmp_path: Path, page: str) -> None:
    writer = EventWriter(tmp_path / "run")
    for step in range(100_000):
        writer.scalars(step, {f"train/metric{index}": step + index for index in range(10)}, WALL + step)
    writer.close()
    code = """
import sys
from pathlib import Path
import psutil
from tui.compose import compose
from tui.library import Library
from tui.state import Desk
before = psutil.Process().memory_info().rss
library = Library(Path(sys.argv[1]))
library.list()
library.read()
compose(Desk(library, page=sys.argv[2]), 200, 50)
points = sum(len(series) for series in library.runs["run"].series.values())
print(points, (psutil.Process().memory_info().rss - before) / points)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), page],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    points, each = out.stdout.split()
    assert int(points) == 1_000_000
    assert float(each) < 20
