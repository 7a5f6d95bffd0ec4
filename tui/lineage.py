"""The lineage as rows: each run below the checkpoint that it starts from, with its own checkpoints and exports.

Read again only when a run came or went, wrote an event, or when its checkpoints changed.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.store.errors import CorruptCheckpoint
from toolkit.store.holdings import Held, holdings
from toolkit.store.lineage import Ancestor, Graph, Node, read_graph
from toolkit.store.manifest import Checkpoint, verify_files
from tui.library import Library
from tui.watched import Watched

Stamp = tuple[int, ...]
FEW = 3
"""Deleted checkpoints in a row, from which nothing came, that are shown one by one."""


@dataclass
class Row:
    """A run or a missing one, a checkpoint of a run, some deleted ones together, or an export."""

    node: Node
    run: Watched | None = None
    """None where its files are not among those that are watched."""
    held: Held | None = None
    folded: int = 0
    """How many deleted checkpoints it stands for."""
    export: str = ""
    """Folder of an export."""
    children: list["Row"] = field(default_factory=list)

    @property
    def checkpoint(self) -> Checkpoint | None:
        return self.held.checkpoint if self.held else None

    @property
    def reference(self) -> str:
        """As commands name it."""
        return f"{self.node.key}@{self.checkpoint.id[:12]}" if self.checkpoint else self.node.key

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """What makes it the same row after another reading."""
        return self.node.key, self.held.name if self.held else "", self.export, bool(self.folded)


Below = dict[str, list[Row]]
"""What came of a run, by the id of the checkpoint that it came from."""


class Lineage:
    """The tree of a library, and where the cursor is in it."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._graph: Graph | None = None
        self._held: dict[str, list[Held]] = {}
        self._states: dict[tuple[str, str], str] = {}
        """As they lie there, by run and id."""
        self._stamps: dict[str, Stamp] = {}
        self._reading = threading.Lock()
        self._rows: list[tuple[tuple[bool, ...], Row]] = []
        self._unfolded: set[str] = set()
        self._verified: dict[tuple[str, str], str] = {}
        """What `verify` found."""
        self.at = 0
        self.top = 0
        """First row that is shown."""

    @property
    def rows(self) -> list[tuple[tuple[bool, ...], Row]]:
        """From above: for each level whether its row is the last of its siblings, and the row."""
        if self._graph is None:
            self.update()
        return self._rows

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        rows = self.rows
        return rows[min(self.at, len(rows) - 1)][1] if rows else None

    def update(self) -> bool:
        """Read what changed; whether anything did. For the thread that polls, some 5 ms for 500 runs."""
        with self._reading:
            runs = {run.name: run for run in list(self._library.runs.values()) if run.folder is not None}
            stamps = {name: _stamp(run) for name, run in runs.items()}
            if self._graph is not None and stamps == self._stamps:
                return False
            held = {
                name: self._held[name]
                if name in self._held and self._stamps.get(name) == stamps[name]
                else holdings(run.folder)
                for name, run in runs.items()
                if run.folder is not None
            }
            self._graph, self._held, self._stamps = read_graph(self._library.runs_root), held, stamps
            self._states = {
                (name, item.checkpoint.id): item.state
                for name, items in held.items()
                for item in items
                if item.checkpoint is not None
            }
            self._lay_out()
            return True

    def state(self, row: Row) -> str:
        """Of a checkpoint: `kept`, `deleted`, `corrupt`, or `intact` for one that was verified."""
        known = row.held.state if row.held else ""
        return self._verified.get((row.node.key, row.checkpoint.id), known) if row.checkpoint else known

    def state_of(self, ancestor: Ancestor) -> str:
        """Likewise; `missing` for one that is not here."""
        place = str(ancestor.run), ancestor.id
        known = self._states.get(place, "missing" if ancestor.checkpoint is None else "kept")
        return self._verified.get(place, known)

    def history(self, row: Row) -> list[Ancestor]:
        """The checkpoint of the row, or the run's newest, and all it comes from, nearest first."""
        if self._graph is None or row.export or row.folded:
            return []
        if row.held is None:
            return self._graph.history(row.node.checkpoint or "")
        if row.checkpoint is None:
            return []
        # A corrupt one is not in the graph; its manifest may tell its parents all the same.
        return self._graph.history(row.checkpoint.id) or [
            ancestor for parent in row.checkpoint.parents for ancestor in self._graph.history(parent.id)
        ]

    def unfold(self, row: Row) -> None:
        """Show the deleted checkpoints of the row's run one by one."""
        self._unfolded.add(row.node.key)
        with self._reading:
            self._lay_out()

    def verify(self, row: Row) -> str:
        """Read the checkpoint's files and recompute their hashes; what to tell."""
        if row.held is None or row.checkpoint is None:
            return "put the cursor on a checkpoint"
        if row.held.state == "deleted":
            return f"{row.reference} was removed; only its manifest is left."
        place = row.node.key, row.checkpoint.id
        try:
            verify_files(row.checkpoint)
        except CorruptCheckpoint as error:
            self._verified[place] = "corrupt"
            return str(error)
        except OSError as error:
            return f"{row.reference} can't be read: {error}"
        self._verified[place] = "intact"
        return f"{row.reference} is intact: every hash is as written."

    def _lay_out(self) -> None:
        """Make the rows anew, the cursor staying on its own."""
        before = self._rows[min(self.at, len(self._rows) - 1)][1].key if self._rows else None
        rows = [row for root in self._roots() for row in _walk(root, ())]
        self._rows = rows
        if before is not None:
            self.at = next((place for place, (_, row) in enumerate(rows) if row.key == before), self.at)

    def _roots(self) -> list[Row]:
        assert self._graph is not None
        graph, runs = self._graph, self._library.runs
        # Of a folder with one run, what that comes from is shown too.
        wanted = {name for name in self._held if name in graph.nodes}
        wanted |= {node.key for name in list(wanted) for node in graph.above(name)}
        whole = {key: Row(node, runs.get(key)) for key, node in graph.nodes.items() if key in wanted}
        below: dict[str, Below] = {}
        roots = []
        for row in whole.values():
            parent = row.node.parent
            if parent is None:
                roots.append(row)
            else:
                origin = row.node.origin
                place = below.setdefault(parent, {})
                place.setdefault((origin and origin.checkpoint) or "", []).append(row)
        for key, row in whole.items():
            for event in row.run.events if row.run else []:
                if event["kind"] == "exported":
                    place = below.setdefault(key, {})
                    export = Row(row.node, row.run, export=str(event.get("path")))
                    place.setdefault(str(event.get("checkpoint")), []).append(export)
        for key, row in whole.items():
            here = below.get(key, {})
            row.children = self._checkpoints(row, here)
            # What came from a checkpoint that left no trace stands below the run itself.
            row.children += [child for rest in here.values() for child in rest]
        return roots

    def _checkpoints(self, row: Row, below: Below) -> list[Row]:
        """The rows of a run's checkpoints, with what came of each, which is taken out of `below`."""
        found: list[Row] = []
        folded: list[Row] = []

        def fold() -> None:
            if len(folded) > FEW and row.node.key not in self._unfolded:
                found.append(Row(row.node, row.run, folded[0].held, folded=len(folded)))
            else:
                found.extend(folded)
            folded.clear()

        for held in self._held.get(row.node.key, []):
            came = below.pop(held.checkpoint.id, []) if held.checkpoint else []
            item = Row(row.node, row.run, held, children=came)
            if held.state == "deleted" and not item.children:
                folded.append(item)
            else:
                fold()
                found.append(item)
        fold()
        return found


def _walk(row: Row, lasts: tuple[bool, ...]) -> Iterator[tuple[tuple[bool, ...], Row]]:
    waiting = [(row, lasts)]
    while waiting:
        here, levels = waiting.pop()
        yield levels, here
        last = len(here.children) - 1
        waiting += [
            (child, (*levels, index == last)) for index, child in reversed(list(enumerate(here.children)))
        ]


def _stamp(run: Watched) -> Stamp:
    """What changes when the run's place in the lineage may have."""
    assert run.folder is not None
    place = f"{run.path}/"
    return (
        len(run.events),
        *(_changed(place + name) for name in ("checkpoints", "checkpoints/pruned", "plan.json")),
    )


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - a Path takes longer than the call
    except OSError:
        return 0
