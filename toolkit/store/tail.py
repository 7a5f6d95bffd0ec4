"""The metrics of a run, read from its event files as they grow."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.store.decode import Block, read_blocks

T = TypeVar("T", bound=np.generic)
CHUNK = 256 * 1024
"""Bytes that are read and decoded at once: what that needs on the way stays in the processor's cache, and little
of it is left with the process."""
_OTHERS = {"checkpoints", "heartbeat", "requests"}


class Points(NamedTuple):
    """Steps (n,), Unix times (n,) and values (n,) of a metric. Not to be written to."""

    steps: NDArray[np.int64]
    wall: NDArray[np.float64]
    values: NDArray[np.float32]


class _Axis:
    """The steps and times that the series of one kind of event share."""

    def __init__(self, steps: NDArray[np.int64], wall: NDArray[np.float64]) -> None:
        self.steps, self.wall, self.size = steps, wall, len(steps)
        self.tags: set[str] = set()

    @classmethod
    def empty(cls) -> "_Axis":
        return cls(np.empty(0, np.int64), np.empty(0, np.float64))

    def append(self, steps: NDArray[np.int64], wall: NDArray[np.float64]) -> None:
        size = self.size + len(steps)
        self.steps = _grown(self.steps, self.size, steps)
        self.wall = _grown(self.wall, self.size, wall)
        self.size = size


class Series:
    """A metric in the order it was written, in columns that grow.

    Steps and times are shared by the metrics that are written together: 4 bytes a point and metric, 16 an
    event. One thread may read while another polls.
    """

    def __init__(self) -> None:
        # Replaced as one, so that a reading thread never sees values beside another's steps.
        self._now = (_Axis.empty(), np.empty(0, np.float32), 0)
        self.lost: list[Points] = []
        """What attempts wrote that a later one, resumed from an earlier step, superseded."""

    def __len__(self) -> int:
        return self._now[2]

    @property
    def points(self) -> Points:
        """All points there are, consistent with each other."""
        axis, values, size = self._now
        return Points(_view(axis.steps, size), _view(axis.wall, size), _view(values, size))

    @property
    def steps(self) -> NDArray[np.int64]:
        return self.points.steps

    @property
    def wall(self) -> NDArray[np.float64]:
        """Unix seconds."""
        return self.points.wall

    @property
    def values(self) -> NDArray[np.float32]:
        return self.points.values

    @property
    def last(self) -> float:
        """The last value. Raises IndexError if there is none."""
        return float(self.values[-1])


@dataclass
class _Host:
    """The series of one folder's event files."""

    series: dict[str, Series] = field(default_factory=dict)
    offsets: dict[Path, int] = field(default_factory=dict)

    def add(self, block: Block) -> set[str]:
        """Take in a block of events; the tags that changed."""
        if block.starts:
            return self._supersede(int(block.steps.min()))
        if len(set(block.tags)) < len(block.tags):  # one tag twice in an event: one after the other
            for index, tag in enumerate(block.tags):
                self._append(
                    Block((tag,), block.steps, block.wall, block.values[:, index : index + 1], False)
                )
        else:
            self._append(block)
        return set(block.tags)

    def _append(self, block: Block) -> None:
        tags, new = set(block.tags), _Axis.empty()
        axes: dict[int, _Axis] = {}
        for tag in block.tags:
            if tag not in self.series:
                # Known to a reading thread only when it has its points: see below.
                fresh = Series()
                fresh._now = (new, fresh._now[1], 0)
                new.tags.add(tag)
                self.series[tag] = fresh
            axis = self.series[tag]._now[0]
            axes[id(axis)] = axis
        for axis in axes.values():
            here = axis.tags & tags
            if here != axis.tags:  # written apart from now on
                size = axis.size
                axis.tags -= here
                axis = _Axis(axis.steps[:size].copy(), axis.wall[:size].copy())
                axis.tags = here
            axis.append(block.steps, block.wall)
            for tag in here:
                series = self.series[tag]
                _, values, size = series._now
                grown = _grown(values, size, block.values[:, block.tags.index(tag)])
                series._now = (axis, grown, axis.size)

    def _supersede(self, step: int) -> set[str]:
        """Move the points of `step` and later to `lost`; the tags that had any."""
        changed: set[str] = set()
        axes: dict[int, tuple[_Axis, NDArray[np.bool_]]] = {}
        for tag, series in self.series.items():
            axis, values, size = series._now
            if id(axis) not in axes:
                gone = axis.steps[:size] >= step
                # Into fresh arrays: what was handed out before must not change under its reader.
                kept = _Axis(axis.steps[:size][~gone], axis.wall[:size][~gone])
                kept.tags = axis.tags
                axes[id(axis)] = kept, gone
            kept, gone = axes[id(axis)]
            if gone.any():
                steps, wall, lost = series.points
                series.lost.append(Points(steps[gone], wall[gone], lost[gone]))
                series._now = (kept, values[:size][~gone], kept.size)
                changed.add(tag)
            else:
                series._now = (kept, values, size)
        return changed


class EventTail:
    """Reads what is new in a folder's event files at each `poll`, in the files' order.

    Files in a subfolder are another host's unless `hosts` is False. Torn or damaged records are passed over.
    A SessionLog.START at step R moves the points from R on to `lost`, as TensorBoard's own reader drops them.
    """

    def __init__(self, folder: Path, *, hosts: bool = True) -> None:
        self.folder = folder
        self._nested = hosts
        self._hosts: dict[str, _Host] = {"": _Host()}
        self.restarts = 0
        """How often everything was read anew, as files were gone or shorter than what was read of them."""

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

        Some 20 µs when nothing did. A folder that is not there or can't be read has no metrics yet.
        """
        changed: set[str] = set()
        files, folders = _scan(self.folder)
        if not self._nested:
            folders = []
        for name, found in [("", files), *((folder.name, _scan(folder)[0]) for folder in folders)]:
            if not found:
                continue
            host = self._hosts.setdefault(name, _Host())
            sizes = dict(found)
            if any(sizes.get(path, -1) < offset for path, offset in host.offsets.items()):
                # Other files than were read: the run was replaced, or its log written anew.
                changed.update(f"{name}/{tag}" if name else tag for tag in host.series)
                host = self._hosts[name] = _Host()
                self.restarts += 1
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
                        changed.update(host.add(block))
                    at += done
                    if len(data) < chunk:
                        break
                    if done < chunk // 2:  # a record longer than the chunk
                        chunk *= 2
        except OSError:  # gone, or not to be read now: the next poll tries again
            return changed
        host.offsets[path] = at
        return changed


def read_scalars(folder: Path) -> dict[str, Series]:
    """Every metric in a run's folder, by tag."""
    tail = EventTail(folder)
    tail.poll()
    return tail.series


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
    except OSError:
        return [], []
    return sorted(files), sorted(folders)


def _view(column: NDArray[T], size: int) -> NDArray[T]:
    view = column[:size]
    view.flags.writeable = False
    return view


def _grown(column: NDArray[T], size: int, more: NDArray[T]) -> NDArray[T]:
    """The column with `more` behind its first `size` items; as it is where these fit into it."""
    total = size + len(more)
    if total > len(column):
        # A quarter more: doubling would leave up to half of the memory unused.
        larger = np.empty(max(16, total, size + size // 4), column.dtype)
        larger[:size] = column[:size]
        column = larger
    column[size:total] = more
    return column
