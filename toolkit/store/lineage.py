"""Which checkpoint came from which, and which run from which: told by the runs' folders alone.

A checkpoint is found by its id, wherever its folder was moved or copied to. What is gone is told by what its
children wrote down of it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit.store.atomic import read_json
from toolkit.store.errors import BadFile, CorruptCheckpoint, UnknownCheckpoint
from toolkit.store.health import check_health
from toolkit.store.manifest import FOLDER, SEAL, Checkpoint, parse_manifest, read_checkpoint
from toolkit.store.retention import criterion
from toolkit.store.runs import RunFolder, find_runs
from toolkit.store.status import Best

PRUNED = "pruned"
SHAPE = "shape"
"""Role of a parent that gave its architecture and tokenizer and not its weights."""


@dataclass(frozen=True)
class Origin:
    """What a run starts from, as its plan wrote it down."""

    run: str
    """NAME/STAGE that it had then."""
    fingerprint: str
    checkpoint: str | None
    """Id; None before the parent was trained."""
    step: int | None
    flops: float | None
    """Spent on it and on all that it comes from."""
    role: str
    """`init`, or `shape` for a run from scratch."""

    def __str__(self) -> str:
        step = "" if self.step is None else f" step {self.step}"
        return f"{self.run}{step}" + (f" {self.checkpoint[:12]}" if self.checkpoint else "")


@dataclass(frozen=True)
class Cost:
    """What training took. None is what isn't known."""

    flops: float | None = None
    seconds: float | None = None

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(_sum(self.flops, other.flops), _sum(self.seconds, other.seconds))


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint in a history. `run` and `checkpoint` are None where it is not here."""

    id: str
    role: str
    """What it was to its child: `previous`, `init` …; `self` for the one asked about."""
    depth: int
    """Generations back: 0 for the one asked about."""
    run: RunFolder | None
    checkpoint: Checkpoint | None
    kept: bool
    """Whether its weights are still there."""
    origin: Origin | None = None
    """What a child wrote down of one that is not here."""


@dataclass(frozen=True)
class Node:
    """A run in the graph, or a parent of one that is not here."""

    key: str
    """NAME/STAGE of its folder; of a missing one, with its fingerprint."""
    run: RunFolder | None
    """None for a missing one."""
    parent: str | None
    """Key of the run that it starts from."""
    origin: Origin | None
    """What it starts from, as it wrote down."""
    state: str = "missing"
    task: str | None = None
    """Kind of its objective or target."""
    best: Best | None = None
    step: int | None = None
    """Of its newest checkpoint."""
    checkpoint: str | None = None
    """Id of its newest checkpoint."""
    own: Cost = Cost()
    """Spent on the run itself, up to its newest checkpoint."""
    inherited: Cost = Cost()
    """Spent on what it comes from, up to the checkpoints that were taken over."""
    ancestry: Cost = Cost()
    """Spent on it and on all that it comes from, up to the checkpoints that were taken over."""
    born_as: str | None = None
    """NAME/STAGE under which it was trained, where its folder was moved or copied since."""
    copy_of: str | None = None
    """The run that holds the same checkpoints, where this folder is a copy of it."""


@dataclass(frozen=True)
class Graph:
    """The runs there are by key, parents before children, and what is missing of their parents."""

    nodes: Mapping[str, Node]
    _index: "_Index" = field(repr=False)
    _children: dict[str | None, list[Node]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for node in self.nodes.values():
            self._children.setdefault(node.parent, []).append(node)

    @property
    def roots(self) -> list[Node]:
        """Runs that start from nothing, and missing ones."""
        return self._children.get(None, [])

    def children(self, key: str) -> list[Node]:
        return self._children.get(key, [])

    def above(self, key: str) -> list[Node]:
        """What a run comes from, the oldest first, without itself."""
        line: list[Node] = []
        parent = self.nodes[key].parent
        while parent is not None:
            line.insert(0, self.nodes[parent])
            parent = self.nodes[parent].parent
        return line

    def history(self, checkpoint_id: str) -> list[Ancestor]:
        """As `history`, of the files that the graph was read from; empty for an id that it doesn't know."""
        return _history(self._index, checkpoint_id) if checkpoint_id in self._index.places else []

    def walk(self, top: str | None = None) -> Iterator[tuple[Node, int]]:
        """Every run with its depth, as a tree is drawn; from `top` down, or all of them."""
        first = self.roots if top is None else [self.nodes[top]]
        waiting = [(node, 0) for node in reversed(first)]
        while waiting:
            node, depth = waiting.pop()
            yield node, depth
            waiting += [(child, depth + 1) for child in reversed(self.children(node.key))]


def read_graph(root: Path) -> Graph:
    """The graph of the runs in a folder. What can't be read of a run is left open."""
    index = _Index(root)
    records = {str(run): _Record(index, run) for run in index.runs}
    parents: dict[str, str | None] = {}
    missing: dict[str, Node] = {}
    for key, record in records.items():
        origin = record.origin
        if origin is None:
            parents[key] = None
            continue
        holder = index.holder(origin.checkpoint, first=origin.run)
        if holder is None:
            gone = f"{origin.run} ({origin.fingerprint[:8]})"
            missing.setdefault(gone, _missing(gone, origin))
            parents[key] = gone
        else:
            parents[key] = str(holder)
    nodes: dict[str, Node] = {}

    def add(key: str, below: tuple[str, ...]) -> Node:
        if key in nodes:
            return nodes[key]
        if key in missing:
            nodes[key] = missing[key]
            return nodes[key]
        parent = parents[key]
        if parent in (*below, key):
            parent = None  # no honest history is a circle
        if parent is not None:
            add(parent, (*below, key))
        nodes[key] = records[key].node(parent, _inherited(index, records, records[key].origin))
        return nodes[key]

    for key in records:
        add(key, ())
    return Graph(nodes, index)


def history(root: Path, checkpoint_id: str) -> list[Ancestor]:
    """The checkpoint and all it comes from, nearest first, each once. Raises UnknownCheckpoint.

    Removed checkpoints are in it, as their manifests stay. A parent that is not here ends its line.
    """
    index = _Index(root)
    if checkpoint_id not in index.places:
        raise UnknownCheckpoint(f"no checkpoint {checkpoint_id} in {root}. `tk show RUN` lists a run's.")
    return _history(index, checkpoint_id)


def _history(index: "_Index", checkpoint_id: str) -> list[Ancestor]:
    origins: dict[str, Origin] | None = None
    found: dict[str, Ancestor] = {}
    wanted = [(checkpoint_id, "self")]
    depth = 0
    while wanted:
        parents = []
        for identity, role in wanted:
            if identity in found:
                continue
            run, kept = index.places.get(identity, [(None, False)])[0]
            checkpoint = index.read(identity)
            origin = None
            if checkpoint is None:
                origins = origins if origins is not None else _origins(index)
                run, kept, origin = None, False, origins.get(identity)
            else:
                parents += [(parent.id, parent.role) for parent in checkpoint.parents]
            found[identity] = Ancestor(identity, role, depth, run, checkpoint, kept, origin)
        wanted, depth = parents, depth + 1
    return list(found.values())


def locate(root: Path, checkpoint_id: str, *, first: str = "") -> Checkpoint | None:
    """The kept checkpoint of an id, wherever in the runs folder it is; `first` is the run to look in first."""
    for run in sorted(find_runs(root), key=lambda run: str(run) != first):
        for folder in _folders(run):
            if _sealed_id(folder) == checkpoint_id:
                try:
                    return read_checkpoint(folder)
                except CorruptCheckpoint:
                    continue
    return None


def find_id(root: Path, prefix: str) -> str | None:
    """The one id that begins so, of checkpoints that were removed too. Raises UnknownCheckpoint for several."""
    found = [identity for identity in _Index(root).places if identity.startswith(prefix)]
    if len(found) > 1:
        raise UnknownCheckpoint(f"{len(found)} checkpoints begin with {prefix}. Write more of the id.")
    return found[0] if found else None


class _Index:
    """Where the checkpoints of a runs folder lie, by id. Manifests are read only when they are asked for."""

    def __init__(self, root: Path) -> None:
        self.runs = list(find_runs(root))
        self.places: dict[str, list[tuple[RunFolder, bool]]] = {}
        """The runs that hold a checkpoint, and whether with its weights: those first."""
        self.newest: dict[RunFolder, str] = {}
        self._paths: dict[str, Path] = {}
        self._read: dict[str, Checkpoint | None] = {}
        for run in self.runs:
            for folder in _folders(run):
                if identity := _sealed_id(folder):
                    self.newest[run] = identity
                    self._add(identity, run, folder, kept=True)
        for run in self.runs:
            # What was found damaged still tells its parents, if its manifest is sound.
            for folder in sorted(_scan(run.checkpoints)):
                if folder.name.startswith(".bad-") and (identity := _sealed_id(folder)):
                    self._add(identity, run, folder, kept=False)
            removed = [path for path in _scan(run.checkpoints / PRUNED) if path.suffix == ".json"]
            for path in removed:
                self._add(path.stem, run, path, kept=False)
            if run not in self.newest and removed:
                manifests = [item for item in (self.read(path.stem) for path in removed) if item]
                if manifests:
                    self.newest[run] = max(manifests, key=lambda item: item.step).id

    def holder(self, identity: str | None, *, first: str) -> RunFolder | None:
        """The run that holds a checkpoint; of several the one named `first`."""
        runs = [run for run, _ in self.places.get(identity or "", [])]
        return next((run for run in runs if str(run) == first), runs[0] if runs else None)

    def read(self, identity: str) -> Checkpoint | None:
        """The manifest; None where it is not here or damaged."""
        if identity not in self._read:
            path = self._paths.get(identity)
            self._read[identity] = None if path is None else _manifest(path, identity)
        return self._read[identity]

    def _add(self, identity: str, run: RunFolder, path: Path, *, kept: bool) -> None:
        self.places.setdefault(identity, []).append((run, kept))
        self._paths.setdefault(identity, path)


class _Record:
    """What a run's own files tell."""

    def __init__(self, index: _Index, run: RunFolder) -> None:
        self._index = index
        self.run = run

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        try:
            return read_json(self.run.plan)
        except (OSError, BadFile):
            return {}

    @cached_property
    def task(self) -> Mapping[str, Any]:
        task = self.plan.get("task")
        return task if isinstance(task, Mapping) else {}

    @cached_property
    def origin(self) -> Origin | None:
        parent = self.plan.get("parent")
        if not isinstance(parent, Mapping):
            return None
        step, flops = parent.get("step"), parent.get("flops")
        return Origin(
            run=str(parent.get("run")),
            fingerprint=str(parent.get("fingerprint")),
            checkpoint=str(parent["checkpoint"]) if parent.get("checkpoint") else None,
            step=int(step) if isinstance(step, int) else None,
            flops=float(flops) if isinstance(flops, int | float) else None,
            role=SHAPE if self.task.get("start") == "scratch" else "init",
        )

    def node(self, parent: str | None, inherited: Cost) -> Node:
        """Its place in the graph. `inherited` is what its parent's weights had cost."""
        index, run = self._index, self.run
        state, status = "unreadable", None
        with suppress(BadFile):
            health, status = check_health(run)
            state = health.condition
        newest = index.read(index.newest.get(run, ""))
        own = _spent(newest)
        born = str(newest.info["run"]) if newest and "run" in newest.info else None
        others = [str(other) for other, _ in index.places.get(newest.id, [])] if newest else []
        moved = born is not None and born != str(run)
        return Node(
            key=str(run),
            run=run,
            parent=parent,
            origin=self.origin,
            state=state,
            task=str(self.task["kind"]) if "kind" in self.task else None,
            best=(status.best if status else None) or _best(newest),
            step=newest.step if newest else None,
            checkpoint=newest.id if newest else None,
            own=own,
            inherited=inherited,
            ancestry=own + inherited,
            born_as=born if moved else None,
            copy_of=next((other for other in others if other == born), others[0] if others else None)
            if moved and len(others) > 1
            else None,
        )


def _inherited(index: _Index, records: Mapping[str, _Record], origin: Origin | None) -> Cost:
    """What a parent's weights had cost when they were taken over. Shapes cost nothing."""
    total, seen = Cost(0.0, 0.0), set()
    while origin is not None and origin.role != SHAPE and origin.checkpoint not in seen:
        seen.add(origin.checkpoint)
        holder = index.holder(origin.checkpoint, first=origin.run)
        if holder is None or (checkpoint := index.read(origin.checkpoint or "")) is None:
            return total + Cost(origin.flops, None)
        total += _spent(checkpoint)
        origin = records[str(holder)].origin
    return total


def _missing(key: str, origin: Origin) -> Node:
    return Node(
        key=key,
        run=None,
        parent=None,
        origin=origin,
        step=origin.step,
        checkpoint=origin.checkpoint,
        ancestry=Cost(origin.flops, None),
    )


def _origins(index: _Index) -> dict[str, Origin]:
    found = (_Record(index, run).origin for run in index.runs)
    return {origin.checkpoint: origin for origin in found if origin is not None and origin.checkpoint}


def _spent(checkpoint: Checkpoint | None) -> Cost:
    if checkpoint is None:
        return Cost()
    flops, seconds = (checkpoint.info.get(name) for name in ("flops", "seconds"))
    return Cost(
        float(flops) if isinstance(flops, int | float) else None,
        float(seconds) if isinstance(seconds, int | float) else None,
    )


def _best(checkpoint: Checkpoint | None) -> Best | None:
    if checkpoint is None:
        return None
    metric, _ = criterion([checkpoint])
    value = checkpoint.metrics.get(metric)
    return None if value is None else Best(metric=metric, value=value, step=checkpoint.step)


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _folders(run: RunFolder) -> list[Path]:
    """Of the checkpoints, by step."""
    found = [path for path in _scan(run.checkpoints) if FOLDER.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _scan(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _manifest(path: Path, identity: str) -> Checkpoint | None:
    """Of a checkpoint's folder, or as it stays of one that was removed."""
    try:
        found = read_checkpoint(path) if path.is_dir() else parse_manifest(path.read_bytes(), path)
    except (CorruptCheckpoint, OSError):
        return None
    return found if found.id == identity else None


def _sealed_id(folder: Path) -> str | None:
    """The id in the seal, without reading the manifest."""
    try:
        found = re.match(rb"[0-9a-f]{64}", (folder / SEAL).read_bytes()[:64])
    except OSError:
        return None
    return found[0].decode() if found else None
