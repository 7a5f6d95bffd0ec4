"""One run as the dashboard sees it: status, health, events and metrics, read when their files change."""

import os
import statistics
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.store.atomic import read_json
from toolkit.store.errors import BadFile
from toolkit.store.events import read_events
from toolkit.store.health import ACTIVE, Health, Pulse
from toolkit.store.runs import RunFolder
from toolkit.store.slurm import Queued
from toolkit.store.status import Status, read_status
from toolkit.store.tail import EventTail, Points, Series

QUIET_SECONDS = 60.0
"""A log of another program without a new point for so long, and ten times its usual, is quiet."""
LOSSES = ("train/loss", "train_loss", "loss", "Loss/train", "loss/train", "training_loss")
VALIDATIONS = ("val/loss", "eval/loss", "val_loss", "Loss/val", "loss/val", "validation/loss", "Loss/test")
RECENT = 50


class Watched:
    """A run. `look` and `read` are for the thread that polls; the rest is for those who draw."""

    def __init__(self, name: str, path: Path, folder: RunFolder | None, number: int) -> None:
        self.name = name
        self.path = path
        self._place = str(path)
        self.folder = folder
        """None for a log that is not of tk."""
        self.number = number
        """In the order of being found: its colour."""
        self.status: Status | None = None
        self.health = Health("empty")
        self.events: list[dict[str, Any]] = []
        self.tail = EventTail(path, hosts=folder is not None)
        self.waits_for: str | None = None
        """The parent that is not finished, as the library finds it."""
        self.job: Queued | None = None
        """What SLURM says of the run's job, as the library finds it."""
        self.version = 0
        """Grows with every change."""
        self._pulse = Pulse(folder) if folder else None
        self._stamps: dict[str, tuple[int, int]] = {}
        self._plan: Mapping[str, Any] | None = None

    @property
    def active(self) -> bool:
        return self.health.condition in ACTIVE

    @property
    def at_work(self) -> bool:
        """Whether a process of it runs, as far as can be told."""
        return self.active and self.health.condition not in ("waiting", "queued", "requeued")

    @property
    def series(self) -> dict[str, Series]:
        return self.tail.series

    def look(self) -> bool:
        """Read where the run stands, if its files changed; whether anything is otherwise than before."""
        if self.folder is None or self._pulse is None:
            return self._judge_quiet()
        before = self.health, self.status
        try:
            if self._changed("status.json"):
                self.status = read_status(self.folder)
            self.health = self._pulse.take(self.status, self.step_seconds)
            if self.waits_for and self.health.condition in ("empty", "preparing"):
                self.health = Health("waiting", f"for {self.waits_for}")
            if self.job and (self.health.condition not in ACTIVE or self.health.condition == "waiting"):
                # Between two jobs the status still tells how the last one ended.
                self.health = _in_queue(self.job) or self.health
        except (BadFile, OSError) as error:
            self.health = Health("failed", f"its status can't be read: {error}")
        changed = (self.health, self.status) != before
        if self._changed("events.jsonl"):
            try:
                self.events = read_events(self.folder)
            except OSError:
                self.events = []
            self.__dict__.pop("spec", None)
            changed = True
        if self._changed("plan.json"):
            self._plan = None
            self.__dict__.pop("plan", None)
            changed = True
        self.version += changed
        return changed

    def read(self) -> bool:
        """Read what is new in the event files; whether there was anything."""
        changed = bool(self.tail.poll())
        self.version += changed
        return changed

    def _judge_quiet(self) -> bool:
        last = self.last_time
        usual = 10 * (self.step_seconds or 0)
        live = last is not None and time.time() - last < max(QUIET_SECONDS, usual)
        health = Health("running") if live else Health("quiet", "nothing new in its files")
        changed = health != self.health
        self.health = health
        return changed

    def _changed(self, name: str) -> bool:
        try:
            info = os.stat(f"{self._place}/{name}")  # noqa: PTH116 - a Path takes longer than the call
            stamp = info.st_mtime_ns, info.st_size
        except OSError:
            stamp = 0, -1
        changed = self._stamps.get(name, (0, -1)) != stamp
        self._stamps[name] = stamp
        return changed

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """The spec that the run began with; empty where it is not known."""
        for event in reversed(self.events):
            if event["kind"] == "created" and isinstance(event.get("spec"), dict):
                return dict(event["spec"])
        return {}

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        """plan.json as it stands there; empty where there is none."""
        if self.folder is None:
            return {}
        try:
            return read_json(self.folder.plan)
        except (OSError, BadFile):
            return {}

    @property
    def loss_tag(self) -> str | None:
        """The metric that stands for the run's training loss."""
        return self._first(LOSSES, "loss")

    @property
    def validation_tag(self) -> str | None:
        return self._first(VALIDATIONS, None)

    def _first(self, names: tuple[str, ...], word: str | None) -> str | None:
        known = self.series
        for name in names:
            if name in known:
                return name
        if word is None:
            return None
        tags = list(known)
        return next((tag for tag in tags if word in tag.lower()), tags[0] if tags else None)

    def points(self, tag: str) -> Points | None:
        """The points of a metric; None where it has none. `host/tag` is another host's."""
        series = self.series.get(tag)
        if series is None:
            host, _, rest = tag.partition("/")
            series = self.tail.hosts.get(host, {}).get(rest)
        return series.points if series is not None and len(series) else None

    def last(self, tag: str) -> float | None:
        """The last value of a metric: of the event files, or as the status tells it."""
        points = self.points(tag)
        if points is not None:
            return float(points.values[-1])
        return self.status.metrics.get(tag) if self.status else None

    def amount(self, tag: str) -> tuple[int, int]:
        """Of the metric's points, and of its beginnings anew and lost parts: it is drawn anew when they change."""
        series = self.series.get(tag)
        if series is None:
            points = self.points(tag)
            return (0 if points is None else len(points.steps)), self.tail.restarts << 20
        return len(series), self.tail.restarts << 20 | len(series.lost)

    @property
    def tags(self) -> list[str]:
        """All metrics, those of other hosts behind the run's own."""
        own = list(self.series)
        return own + [f"{host}/{tag}" for host, known in self.tail.hosts.items() for tag in list(known)]

    @property
    def step(self) -> int | None:
        if self.status and self.status.step:
            return self.status.step
        tag = self.loss_tag
        points = self.points(tag) if tag else None
        if points is not None:
            return int(points.steps[-1])
        return self.status.step if self.status else None

    @property
    def steps(self) -> int | None:
        """Of the whole run, where that is known."""
        return self.status.steps if self.status else None

    @property
    def loss(self) -> float | None:
        """The mean of the last points: single steps are too noisy to read."""
        tag = self.loss_tag
        points = self.points(tag) if tag else None
        if points is None:
            return self.status.metrics.get("train/loss") if self.status else None
        last = points.values[-10:].astype(np.float64)
        return float(last.mean())

    @property
    def best(self) -> tuple[float, int | None] | None:
        """The best validation and its step."""
        if self.status and self.status.best:
            return self.status.best.value, self.status.best.step
        tag = self.validation_tag
        points = self.points(tag) if tag else None
        if points is None or not np.isfinite(points.values).any():
            return None
        place = int(np.nanargmin(points.values))
        return float(points.values[place]), int(points.steps[place])

    @property
    def step_seconds(self) -> float | None:
        """The time of a typical step: the median of the last ones."""
        points = self.points("perf/step_seconds")
        if points is not None:
            return float(statistics.median(points.values[-RECENT:].tolist()))
        tag = self.loss_tag
        points = self.points(tag) if tag else None
        if points is None or len(points.steps) < 3:
            return None
        steps, wall = points.steps[-RECENT:], points.wall[-RECENT:]
        done = int(steps[-1] - steps[0])
        return float(wall[-1] - wall[0]) / done if done > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Until its last step, at the pace of the last ones, evaluations included; None for one that hangs."""
        if not self.at_work or self.health.condition == "hung" or self.steps is None or self.step is None:
            return None
        tag = self.loss_tag
        points = self.points(tag) if tag else None
        if points is None or len(points.steps) < 2:
            return None
        steps, wall = points.steps[-4 * RECENT :], points.wall[-4 * RECENT :]
        done = int(steps[-1] - steps[0])
        return (self.steps - self.step) * float(wall[-1] - wall[0]) / done if done > 0 else None

    @property
    def actual(self) -> dict[str, float]:
        """What it took so far: tokens, seconds …, as its events or its metrics tell."""
        for event in reversed(self.events):
            if isinstance(event.get("actual"), dict):
                return {str(name): float(value) for name, value in event["actual"].items()}
        tokens = self.last("train/tokens")
        return {} if tokens is None else {"tokens": tokens}

    @property
    def last_time(self) -> float | None:
        """Unix seconds of its newest point."""
        tag = self.loss_tag
        points = self.points(tag) if tag else None
        return float(points.wall[-1]) if points is not None else None

    @property
    def parent(self) -> str | None:
        """The run or checkpoint that it starts from, in words."""
        parent = self.plan.get("parent") or self.spec.get("parent")
        if isinstance(parent, Mapping):
            known = [str(parent[key]) for key in ("run", "reference", "path", "id") if parent.get(key)]
            return known[0] if known else None
        return str(parent) if parent else None


def _in_queue(job: Queued) -> Health | None:
    """The condition of a run that nobody works on yet, by its job."""
    if job.waiting:
        why = "" if job.reason in ("", "None") else f": {job.reason}"
        return Health("requeued" if job.restarts else "queued", f"job {job.job}{why}")
    return Health("running", f"job {job.job} has begun") if job.state == "RUNNING" else None
