"""Runs folders to look at: made with the store's own functions, the same at every time."""

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import append_event
from toolkit.store.heartbeat import beat
from toolkit.store.lease import hold
from toolkit.store.manifest import Checkpoint, Parent
from toolkit.store.runs import RunFolder
from toolkit.store.status import Best, Status, write_status
from toolkit.store.tfevents import EventWriter

GPUS = 8


def loss_at(step: int, number: int = 0) -> float:
    noise = math.sin(step * 12.9898 + number * 78.233) * 43758.5453
    return 4 * math.exp(-step / 300) + 1.5 + 0.1 * number + 0.2 * ((noise - math.floor(noise)) - 0.5)


class LiveRun:
    """A run that this process holds, and whose steps it writes."""

    def __init__(self, root: Path, name: str, number: int, steps: int = 100_000) -> None:
        self.folder = RunFolder(root, name)
        self.folder.create()
        self._stack = ExitStack()
        self._stack.enter_context(hold(self.folder))
        self.number, self.steps, self.step = number, steps, 0
        append_event(self.folder, "created", spec={"name": name, "model": {"n_layers": 2 + number}})
        append_event(self.folder, "started", attempt=1)
        self.events = EventWriter(self.folder.path)

    def advance(self, count: int = 1, gpus: int = 0, wall: float | None = None) -> None:
        values: dict[str, float] = {}
        for _ in range(count):
            self.step += 1
            values = {
                "train/loss": loss_at(self.step, self.number),
                "train/lr": 1e-3,
                "train/tokens": self.step * 4096.0,
                "perf/tokens_per_second": 40_000 + 100 * math.sin(self.step),
                "perf/step_seconds": 0.1,
                "perf/mfu": 0.41,
                "memory/peak_gib": 61.2,
            }
            self.events.scalars(self.step, values, wall)
        for gpu in range(gpus):
            wave = math.sin(self.step / 7 + gpu)
            counters = {
                "utilization": 0.9 + 0.1 * wave,
                "memory_gib": 60 + wave,
                "memory_total_gib": 80,
                "power_watts": 600 + 50 * wave,
                "power_limit_watts": 700,
                "temperature_celsius": 65 + 3 * wave,
            }
            self.events.scalars(
                self.step, {f"system/gpu{gpu}/{name}": v for name, v in counters.items()}, wall
            )
        self.events.flush()
        beat(self.folder, self.step, "training")
        best = Best(metric="val/loss", value=1.9, step=max(self.step - 10, 0))
        write_status(
            self.folder,
            Status(state="running", step=self.step, steps=self.steps, metrics=values, best=best),
        )

    def close(self) -> None:
        self.events.close()
        self._stack.close()


def checkpoint(run: RunFolder, step: int, loss: float, parents: Sequence[Parent] = ()) -> Checkpoint:
    """A small checkpoint, announced as the trainer does."""
    made = CheckpointStore(run).commit(
        step,
        lambda folder: (folder / "weights.safetensors").write_bytes(bytes(1000)) and None,
        info={
            "run": str(run),
            "metrics": {"train/loss": loss, "val/loss": loss + 0.05},
            "tokens": step * 4096,
            "flops": step * 1e9,
            "seconds": float(step),
        },
        parents=parents,
    )
    append_event(run, "checkpoint", id=made.id, step=step, metrics=made.metrics, parents=[])
    return made


PLAN = {
    "parameters": {"total": 12_300_000},
    "tokens": 2_048_000,
    "device": "cuda",
    "precision": "bfloat16",
    "fingerprint": "c0ffee" * 10 + "beef",
}
WALL = 1_700_000_000.0
SAMPLES = ("lorem ipsum ", "lorem dolor sit amet, ", "lorem ipsum dolor sit amet, consectetur ")


def world(root: Path) -> LiveRun:
    """Runs in several conditions, with a lineage, a log and samples; the one that is running is returned."""
    whole = finished_run(root, "gpt_small", 0, wall=WALL)
    whole.plan.write_text(json.dumps(PLAN))
    parents: list[Parent] = []
    made = []
    for step in (100, 200, 300, 400, 500):
        made.append(checkpoint(whole, step, loss_at(step), parents))
        parents = [Parent(made[-1].id, "previous")]
    CheckpointStore(whole).prune(last=2, best=1)
    damaged = CheckpointStore(whole).list()[0].path
    damaged.rename(damaged.with_name(f".bad-{damaged.name}"))
    append_event(whole, "exported", checkpoint=made[-1].id, path="exports/gpt_small_hf")
    whole.console.write_text(
        "preparing data\nwarning: data.validation: few held-out tokens\n"
        + "".join(f"step {step}  val/loss {loss_at(step):.4f}\n" for step in range(50, 501, 50))
        + "error: \x1b[2J\x1b]0;owned\x07 a log that drives the terminal\n"
    )
    whole.samples.write_text(
        "".join(
            json.dumps({"step": 100 * index, "prompt": "lorem", "text": text[5:] * 6}) + "\n"
            for index, text in enumerate(SAMPLES, 1)
        )
    )
    tuned = finished_run(root, "gpt_small", 3, steps=120, wall=WALL + 3600, stage="chat")
    last = made[-1]
    parent = {"run": str(whole), "checkpoint": last.id, "step": last.step, "fingerprint": PLAN["fingerprint"]}
    tuned.plan.write_text(json.dumps({**PLAN, "parent": {**parent, "flops": last.info["flops"]}}))
    checkpoint(tuned, 120, 1.61, [Parent(made[-1].id, "init")])
    dead = finished_run(root, "other_seed", 1, steps=200, wall=WALL)
    write_status(dead, Status(state="running", step=200, steps=500, time=WALL + 200))
    failed = finished_run(root, "too_bold", 2, steps=90, wall=WALL)
    broken = EventWriter(failed.path, 91)
    for step in range(91, 96):
        broken.scalars(step, {"train/loss": math.nan}, WALL + step)
    broken.close()
    append_event(failed, "resumed", step=91)
    write_status(
        failed, Status(state="failed", step=95, steps=500, time=WALL + 95, reason="loss is not finite")
    )
    live = LiveRun(root, "wide", 4, steps=2000)
    for _ in range(40):
        live.advance(10, gpus=2 if live.step % 50 == 0 else 0, wall=WALL + live.step)
    return live


def finished_run(
    root: Path,
    name: str,
    number: int,
    steps: int = 500,
    wall: float | None = None,
    stage: str = "pretrain",
) -> RunFolder:
    """A run that is over."""
    folder = RunFolder(root, name, stage)
    folder.create()
    begin = wall if wall is not None else time.time() - steps
    append_event(folder, "created", spec={"name": name, "model": {"n_layers": 2 + number}, "seed": number})
    events = EventWriter(folder.path)
    for step in range(1, steps + 1):
        values = {"train/loss": loss_at(step, number), "perf/tokens_per_second": 40_000.0, "perf/mfu": 0.4}
        events.scalars(step, values, begin + step)
        if step % 50 == 0:
            events.scalars(step, {"val/loss": loss_at(step, number) + 0.05}, begin + step)
    events.close()
    append_event(folder, "finished", step=steps, actual={"tokens": steps * 4096.0, "seconds": float(steps)})
    write_status(
        folder,
        Status(
            state="finished",
            step=steps,
            steps=steps,
            time=begin + steps,
            metrics={"train/loss": loss_at(steps, number), "memory/peak_gib": 12.5},
            best=Best(metric="val/loss", value=loss_at(steps, number) + 0.05, step=steps),
        ),
    )
    return folder
