"""Lineage: the tree from a pretrained run to what came of it, each checkpoint with its state."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.plan.figures import length_of_time, short, size
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import CorruptCheckpoint
from toolkit.store.manifest import Checkpoint, read_checkpoint, verify_files
from tui.lines import Line, Span, beside, clip, fill, fit, line, pad, safe, styled
from tui.pages.frame import state_span
from tui.pages.table import scrolled
from tui.plot.ticks import number
from tui.state import Desk
from tui.watched import Watched

PREVIOUS = "previous"
"""The role of a parent that is the same run's checkpoint before."""
BRANCH = {"braille": ("├─ ", "└─ ", "│  "), "ascii": ("|- ", "`- ", "|  ")}
KEPT, DELETED, CORRUPT = "kept", "deleted", "corrupt"


@dataclass
class Node:
    """A row of the tree: a run, a checkpoint of one, or an export."""

    run: Watched
    checkpoint: Checkpoint | None = None
    state: str = ""
    """Of a checkpoint: kept, deleted or corrupt."""
    export: str = ""
    """Of an export: its folder."""
    children: list["Node"] = field(default_factory=list)

    @property
    def reference(self) -> str:
        """As commands name it."""
        return f"{self.run.name}@{self.checkpoint.id[:12]}" if self.checkpoint else self.run.name


@dataclass
class Tree:
    """The rows, from above, and by how much each is indented."""

    rows: list[tuple[str, Node]]
    by_id: dict[str, Node]


_known: dict[Path, tuple[object, list[Node]]] = {}
_verified: dict[str, str] = {}
"""What `verify` found, by the id of the checkpoint."""


def tree(desk: Desk) -> Tree:
    """All runs with their checkpoints, each run below the checkpoint that it starts from."""
    runs = [run for run in list(desk.library.runs.values()) if run.folder is not None]
    nodes = {run.name: Node(run) for run in runs}
    by_id: dict[str, Node] = {}
    for run in runs:
        nodes[run.name].children = _checkpoints(run)
        by_id.update({node.checkpoint.id: node for node in nodes[run.name].children if node.checkpoint})
    roots = []
    for run in runs:
        origin = _origin(run, nodes[run.name].children)
        above = by_id.get(origin or "")
        if above is not None and above.run is not run:
            above.children.append(nodes[run.name])
        else:
            roots.append(nodes[run.name])
    for run in runs:
        for event in run.events:
            if event["kind"] == "exported" and event.get("checkpoint") in by_id:
                where = by_id[str(event["checkpoint"])]
                where.children.append(Node(run, export=str(event.get("path", "?"))))
    marks = BRANCH["ascii" if desk.marker == "ascii" else "braille"]
    return Tree([row for root in roots for row in _rows(root, "", "", marks)], by_id)


def _rows(node: Node, first: str, further: str, marks: tuple[str, str, str]) -> Iterator[tuple[str, Node]]:
    yield first, node
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _rows(
            child, further + marks[1 if last else 0], further + ("   " if last else marks[2]), marks
        )


def _checkpoints(run: Watched) -> list[Node]:
    """The run's checkpoints, read again when it wrote or removed one."""
    assert run.folder is not None
    path = run.folder.checkpoints
    stamps = []
    for folder in (path, path / "pruned"):
        try:
            stamps.append(folder.stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    stamp = tuple(stamps)
    if path in _known and _known[path][0] == stamp:
        kept = _known[path][1]
    else:
        store = CheckpointStore(run.folder)
        kept = [Node(run, item, DELETED) for item in store.pruned()]
        kept += [Node(run, item, KEPT) for item in store.list()]
        readable = {node.checkpoint.path.name for node in kept if node.checkpoint and node.state == KEPT}
        names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
        bad = [name for name in names if name.startswith(".bad-step-")]
        bad += [name for name in names if name.startswith("step-") and name not in readable]
        kept += [Node(run, _manifest(path / name), CORRUPT, export=name) for name in sorted(bad)]
        kept.sort(key=_step)
        _known[path] = stamp, kept
    return [Node(run, node.checkpoint, _state(node), node.export) for node in kept]


def _manifest(folder: Path) -> Checkpoint | None:
    """What a corrupt checkpoint's manifest tells, if that is sound at least: whose child it is."""
    try:
        return read_checkpoint(folder)
    except (CorruptCheckpoint, OSError):
        return None


def _state(node: Node) -> str:
    return _verified.get(node.checkpoint.id, node.state) if node.checkpoint else node.state


def _step(node: Node) -> int:
    if node.checkpoint:
        return node.checkpoint.step
    digits = "".join(filter(str.isdigit, node.export.split("step-")[-1].split("-")[0]))
    return int(digits or 0)


def _origin(run: Watched, checkpoints: list[Node]) -> str | None:
    """Id of the other run's checkpoint that this one starts from."""
    for node in checkpoints:
        for parent in node.checkpoint.parents if node.checkpoint else ():
            if parent.role != PREVIOUS:
                return parent.id
    told = run.plan.get("parent")
    if isinstance(told, dict):
        told = told.get("id") or told.get("checkpoint")
    return str(told) if told else None


def node_at(desk: Desk) -> Node | None:
    """The row under the cursor."""
    rows = tree(desk).rows
    return rows[min(desk.lineage_at, len(rows) - 1)][1] if rows else None


_top = 0


def row_at(desk: Desk, row: int) -> int | None:
    """The place in the tree of a row on the screen."""
    place = _top + row - 1
    return place if row >= 1 and place < len(tree(desk).rows) else None


def verify(desk: Desk, node: Node) -> str:
    """Read the checkpoint's files and recompute their hashes; what to tell."""
    assert node.checkpoint is not None
    if node.state == DELETED:
        return f"{node.reference} was removed; only its manifest is left."
    try:
        verify_files(node.checkpoint)
    except CorruptCheckpoint as error:
        _verified[node.checkpoint.id] = CORRUPT
        return str(error)
    except OSError as error:
        return f"{node.reference} can't be read: {error}"
    _verified[node.checkpoint.id] = "intact"
    return f"{node.reference} is intact: every hash is as written."


def draw_lineage(desk: Desk, columns: int, rows: int) -> list[Line]:
    global _top
    whole = tree(desk)
    if not whole.rows:
        return fill(
            [(), line("  No runs with checkpoints here. Logs of other programs have no lineage.")],
            rows,
            columns,
        )
    desk.lineage_at = min(desk.lineage_at, len(whole.rows) - 1)
    at = desk.lineage_at
    node = whole.rows[at][1]
    if columns >= 120:
        left, height, below = columns * 3 // 5, rows, 0
    else:
        left, height, below = columns, max(rows * 3 // 5, 4), rows - max(rows * 3 // 5, 4)
    _top = scrolled(_top, at, height - 1, len(whole.rows))
    ancestry = {item.checkpoint.id for item in _ancestry(node, whole) if item.checkpoint}
    lines = [
        fit(
            line(
                (f" {'CHECKPOINT':<{max(left - 44, 12)}}{'STATE':<9}{'LOSS':>7}{'VAL':>8}{'SIZE':>12}", "dim")
            ),
            left,
        )
    ]
    for index in range(_top, min(_top + height - 1, len(whole.rows))):
        indent, item = whole.rows[index]
        text = _row(desk, indent, item, left, marked=bool(item.checkpoint and item.checkpoint.id in ancestry))
        lines.append(styled(text, "at") if index == at else text)
    told = _about(desk, node, whole, left if below else columns - left - 1)
    if not below:
        return beside([(lines, left), (told, columns - left - 1)], rows)
    return [*fill(lines, height, columns), *fill(told, below, columns)]


def _row(desk: Desk, indent: str, node: Node, columns: int, *, marked: bool) -> Line:
    room = max(columns - 44, 12)
    if node.export and node.state != CORRUPT:
        return fit(line((f" {indent}", "dim"), ("export ", "accent"), safe(node.export)), columns)
    if node.state == CORRUPT and node.checkpoint is None:
        return fit(
            line(
                (f" {indent}", "dim"),
                (pad(safe(node.export), room - len(indent) - 1), "bad"),
                (CORRUPT, "bad"),
            ),
            columns,
        )
    if node.checkpoint is None:
        best = number(node.run.best[0] if node.run.best else None)
        name = pad(safe(node.run.name), room - len(indent) - 1)
        state = state_span(desk, node.run, 11)
        return fit(
            line((f" {indent}", "dim"), (name, "bold"), Span(pad(state.text, 11), state.style),
                 ("best ", "dim"), f"{best:>8} ", (_cost(node.run), "dim")), columns)  # fmt: skip
    item = node.checkpoint
    best_step = node.run.best[1] if node.run.best else None
    name = f"step {item.step:,}" + (" *" if item.step == best_step else "") + f"  {item.id[:8]}"
    style = {DELETED: "dim", CORRUPT: "bad", "intact": "good"}.get(node.state, "")
    losses = [number(item.metrics.get(tag)) for tag in ("train/loss", "val/loss")]
    return fit(
        line(
            ("›" if marked and desk.marker != "ascii" else ">" if marked else " ", "accent"),
            (indent, "dim"),
            (pad(clip(name, room - len(indent) - 2), room - len(indent) - 1), "accent" if marked else style),
            (pad(node.state, 9), style),
            (f"{losses[0]:>7}{losses[1]:>8}{size(item.size):>12}", style),
        ),
        columns,
    )


def _cost(run: Watched) -> str:
    """What the run took so far, in few words."""
    actual = _actual(run)
    parts = []
    if (seconds := actual.get("seconds")) is not None:
        parts.append(length_of_time(seconds))
    if (tokens := actual.get("tokens")) is not None:
        parts.append(f"{short(tokens)} tok")
    return ", ".join(parts)


def _actual(run: Watched) -> dict[str, float]:
    for event in reversed(run.events):
        if isinstance(event.get("actual"), dict):
            return {str(name): float(value) for name, value in event["actual"].items()}
    tokens = run.last("train/tokens")
    return {} if tokens is None else {"tokens": tokens}


def _ancestry(node: Node, whole: Tree) -> list[Node]:
    """The checkpoints that this one, or the run's last, comes from, nearest first."""
    start = node
    if node.checkpoint is None:
        own = [child for child in node.children if child.checkpoint]
        if not own:
            return []
        start = own[-1]
    found: dict[str, Node] = {}
    waiting = [start]
    while waiting:
        here = waiting.pop(0)
        if here.checkpoint is None or here.checkpoint.id in found:
            continue
        found[here.checkpoint.id] = here
        waiting += [whole.by_id[parent.id] for parent in here.checkpoint.parents if parent.id in whole.by_id]
    return list(found.values())


def _about(desk: Desk, node: Node, whole: Tree, columns: int) -> list[Line]:
    """What is under the cursor, and what it comes from."""
    rule = Span(("-" if desk.marker == "ascii" else "─") * columns, "dim")
    lines: list[Line] = [(rule,), line((f" {safe(node.reference)}", "bold"))]
    run, item = node.run, node.checkpoint
    if item is None:
        actual = _actual(run)
        words = {"seconds": length_of_time, "peak_memory": size}
        facts = [
            f"{words.get(name, short)(actual[name])} {'' if name in words else name}".strip()
            for name in ("seconds", "tokens", "flops", "peak_memory")
            if name in actual
        ]
        if run.health.reason:
            lines.append(line((f" {safe(run.health.reason)}", "dim")))
        if facts:
            lines.append(line(("  took ", "dim"), ", ".join(facts)))
        if run.plan.get("fingerprint"):
            lines.append(line(("  fingerprint ", "dim"), safe(str(run.plan["fingerprint"])[:16])))
    else:
        lines.append(
            line(
                ("  id ", "dim"),
                item.id[:40],
                ("  ", ""),
                (node.state, "bad" if node.state == CORRUPT else "dim"),
            )
        )
        told = [
            f"{name} {number(value)}"
            for name, value in item.metrics.items()
            if name.startswith(("train/loss", "val/"))
        ]
        if told:
            lines.append(line(("  ", ""), safe(", ".join(told))))
        costs = [
            f"{name} {short(float(item.info[name]))}"
            for name in ("tokens", "flops")
            if isinstance(item.info.get(name), int | float)
        ]
        if costs:
            lines.append(line(("  up to here: ", "dim"), ", ".join(costs)))
    history = _ancestry(node, whole)
    if history:
        lines.append(line(("  comes from", "dim")))
        lines += [_ancestor(step) for step in _thinned(history)]
    return lines


def _thinned(history: list[Node]) -> list[Node | int]:
    """Each run's own steps in between, left out where there are many."""
    found: list[Node | int] = []
    for index, node in enumerate(history):
        same = 0 < index < len(history) - 1 and history[index - 1].run is node.run is history[index + 1].run
        if not same:
            found.append(node)
        elif found and isinstance(found[-1], int):
            found[-1] += 1
        else:
            found.append(1)
    return found


def _ancestor(step: Node | int) -> Line:
    if isinstance(step, int):
        return line((f"    … {step} more of it", "dim"))
    assert step.checkpoint is not None
    return line(f"    {clip(safe(step.run.name), 30)} step {step.checkpoint.step:,} ", (step.state, "dim"))
