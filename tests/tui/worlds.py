"""Runs folders to look at: made with the store's own functions, the same at every time."""

import math
import time
from contextlib import ExitStack
from pathlib import Path

from toolkit.store.events import append_event
from toolkit.store.heartbeat import beat
from toolkit.store.lease import hold
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


def finished_run(
    root: Path, name: str, number: int, steps: int = 500, wall: float | None = None
) -> RunFolder:
    """A run that is over."""
    folder = RunFolder(root, name)
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
