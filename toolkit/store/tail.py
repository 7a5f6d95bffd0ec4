"""The metrics of a run, read from its event files as they grow."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.store.decode import Block, read_blocks

T = TypeVar("T", bound=np.generic)
CHUNK = 16 * 1024 * 1024
_OTHERS = {"checkpoints", "heartbeat", "requests"}


class Points(NamedTuple):
    """Steps (n,), Unix times (n,) and values (n,) of a metric. Not to be written to."""

    steps: NDArray[np.int64]
    wall: NDArray[np.float64]
    values: NDArray[np.float32]


class Series:
    """A metric in the order it was written, in columns that grow."""

    def __init__(self) -> None:
        self._size = 0
        self._steps = np.empty(16, np.int64)
        self._wall = np.empty(16, np.float64)
        self._values = np.empty(16, np.float32)
        self.lost: list[Points] = []
        """What attempts wrote that a later one, resumed from an earlier step, superseded."""

    def __len__(self) -> int:
        return self._size

    @property
    def steps(self) -> NDArray[np.int64]:
        return _view(self._steps, self._size)

    @property
    def wall(self) -> NDArray[np.float64]:
        """Unix seconds."""
        return _view(self._wall, self._size)

    @property
    def values(self) -> NDArray[np.float32]:
        return _view(self._values, self._size)

    @property
    def last(self) -> float:
        """The last value. Raises IndexError if there is none."""
        return float(self.values[-1])

    def append(self, points: Points) -> None:
        """Add points behind the others."""
        size = self._size + len(points.steps)
        if size > len(self._steps):
            self._move(max(size, 2 * len(self._steps)))
        self._steps[self._size : size] = points.steps
        self._wall[self._size : size] = points.wall
        self._values[self._size : size] = points.values
        self._size = size

    def supersede(self, step: int) -> bool:
        """Move the points of `step` and later to `lost`; whether there were any."""
        gone = self.steps >= step
        if not gone.any():
            return False
        self.lost.append(Points(self.steps[gone], self.wall[gone], self.values[gone]))
        kept = Points(self.steps[~gone], self.wall[~gone], self.values[~gone])
        # Into fresh arrays: what was handed out before must not change under its reader.
        self._size = 0
        self._move(len(self._steps))
        self.append(kept)
        return True

    def _move(self, capacity: int) -> None:
        size = self._size
        self._steps = _moved(self._steps, size, capacity)
        self._wall = _moved(self._wall, size, capacity)
        self._values = _moved(self._values, size, capacity)


@dataclass
class _Host:
    series: dict[str, Series] = field(default_factory=dict)
    offsets: dict[Path, int] = field(default_factory=dict)


class EventTail:
    """Reads what is new in a folder's event files at each `poll`, in the files' order.

    Files in a subfolder are another host's. Torn and damaged records are passed over. A SessionLog.START
    at step R moves the points from R on to `lost`, as TensorBoard's own reader drops them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hosts: dict[str, _Host] = {"": _Host()}

    @property
    def series(self) -> dict[str, Series]:
        """The run's own metrics, by tag."""
        return self._hosts[""].series

    @property
    def hosts(self) -> dict[str, dict[str, Series]]:
        """Metrics of other hosts, by the name of their subfolder and by tag."""
        return {name: host.series for name, host in self._hosts.items() if name}

    def poll(self) -> set[str]:
        """Read what was added since the last call; the tags that changed, `host/tag` for another host's.

        Some 20 µs when nothing did. A folder that is not there has no metrics yet.
        """
        changed: set[str] = set()
        files, folders = _scan(self.folder)
        for name, found in [("", files), *((folder.name, _scan(folder)[0]) for folder in folders)]:
            if not found:
                continue
            host = self._hosts.setdefault(name, _Host())
            for path, size in found:
                if size > host.offsets.get(path, 0):
                    tags = self._read(host, path, size)
                    changed.update(f"{name}/{tag}" if name else tag for tag in tags)
        return changed

    def _read(self, host: _Host, path: Path, size: int) -> set[str]:
        changed: set[str] = set()
        at, chunk = host.offsets.get(path, 0), CHUNK
        try:
            with path.open("rb") as file:
                while at < size:
                    file.seek(at)
                    data = file.read(chunk)
                    blocks, done = read_blocks(data)
                    for block in blocks:
                        changed.update(_add(host.series, block))
                    at += done
                    if len(data) < chunk:
                        break
                    if done < chunk // 2:  # a record longer than the chunk
                        chunk *= 2
        except FileNotFoundError:
            return changed
        host.offsets[path] = at
        return changed


def read_scalars(folder: Path) -> dict[str, Series]:
    """Every metric in a run's folder, by tag."""
    tail = EventTail(folder)
    tail.poll()
    return tail.series


def _add(series: dict[str, Series], block: Block) -> set[str]:
    if block.starts:
        return {tag for tag, known in series.items() if known.supersede(int(block.steps.min()))}
    for index, tag in enumerate(block.tags):
        if tag not in series:
            series[tag] = Series()
        series[tag].append(Points(block.steps, block.wall, block.values[:, index]))
    return set(block.tags)


def _scan(folder: Path) -> tuple[list[tuple[Path, int]], list[Path]]:
    """The event files of a folder with their sizes, in the order of their names, and its subfolders."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if "tfevents" in entry.name and entry.is_file():
                    files.append((Path(entry.path), entry.stat().st_size))
                elif entry.name not in _OTHERS and entry.is_dir() and not entry.name.startswith("."):
                    folders.append(Path(entry.path))
    except FileNotFoundError:
        return [], []
    return sorted(files), sorted(folders)


def _view(column: NDArray[T], size: int) -> NDArray[T]:
    view = column[:size]
    view.flags.writeable = False
    return view


def _moved(column: NDArray[T], size: int, capacity: int) -> NDArray[T]:
    larger = np.empty(capacity, column.dtype)
    larger[:size] = column[:size]
    return larger
