"""Lineage: the tree from a pretrained run to what came of it, each checkpoint with its state and its cost."""

from toolkit.plan.figures import flop, length_of_time, short, size
from toolkit.store.lineage import Ancestor, Cost
from toolkit.store.retention import criterion
from tui.lineage import Row
from tui.lines import Line, Span, beside, clip, fill, fit, line, pad, safe, styled, width
from tui.pages.frame import state_span
from tui.pages.table import Column, choose, scrolled
from tui.pages.table import row as cells_of
from tui.plot.ticks import duration, number
from tui.state import Desk

BRANCH = {"braille": ("├─ ", "└─ ", "│  "), "ascii": ("|- ", "`- ", "|  ")}
STYLES = {"deleted": "dim", "corrupt": "bad", "missing": "bad", "intact": "good"}
NAMES = 34
"""Cells that the tree itself has at least."""


def draw_lineage(desk: Desk, columns: int, rows: int) -> list[Line]:
    lineage = desk.lineage
    whole = lineage.rows
    if not whole:
        words = "No runs with checkpoints here. Logs of other programs have no lineage."
        return fill([(), line(f"  {words}")], rows, columns)
    lineage.at = min(lineage.at, len(whole) - 1)
    here = whole[lineage.at][1]
    if columns >= 150:
        left, height, below = columns * 3 // 5, rows, 0
    else:
        left, height, below = columns, max(rows * 3 // 5, 4), rows - max(rows * 3 // 5, 4)
    lineage.top = scrolled(lineage.top, lineage.at, height - 1, len(whole))
    history = lineage.history(here)
    table = choose(_columns(desk), left - NAMES)
    room = left - sum(cells + 1 for _, cells in table)
    titles = "".join(" " + pad(column.title, cells, right=column.right) for column, cells in table)
    lines: list[Line] = [(Span(pad(" RUN, CHECKPOINT", room) + titles, "dim"),)]
    marked = {ancestor.id for ancestor in history}
    for index in range(lineage.top, min(lineage.top + height - 1, len(whole))):
        levels, row = whole[index]
        mark = row.checkpoint is not None and row.checkpoint.id in marked
        text = (*_name(desk, levels, row, room, mark=mark), Span(" "), *cells_of(table, row))
        lines.append(styled(text, "at") if index == lineage.at else text)
    wide = left if below else columns - left - 1
    told = _about(desk, here, history, wide)
    if not below:
        return beside([(lines, left), (told, wide)], rows)
    return [*fill(lines, height, columns), *fill(told, below, columns)]


def row_at(desk: Desk, row: int) -> int | None:
    """The place in the tree of a row on the screen."""
    place = desk.lineage.top + row - 1
    return place if row >= 1 and place < len(desk.lineage.rows) else None


def _name(desk: Desk, levels: tuple[bool, ...], row: Row, cells: int, *, mark: bool) -> Line:
    """Where the row hangs in the tree, and what it is."""
    marks = BRANCH["ascii" if desk.marker == "ascii" else "braille"]
    sign = ("›" if desk.marker != "ascii" else ">") if mark else " "
    indent = "".join("   " if last else marks[2] for last in levels[:-1])
    if levels:
        indent += marks[1 if levels[-1] else 0]
    spans = line((sign, "accent"), (indent, "dim"), *_words(desk, row, mark=mark))
    return fit(spans, cells)


def _words(desk: Desk, row: Row, *, mark: bool) -> list[tuple[str, str]]:
    if row.export:
        return [("export ", "accent"), (safe(row.export), "")]
    if row.folded:
        more = "..." if desk.marker == "ascii" else "…"
        return [(f"{more} {row.folded} deleted", "dim")]
    if row.held is not None:
        style = "accent" if mark else STYLES.get(desk.lineage.state(row), "")
        item = row.held.checkpoint
        if item is None:
            return [(f"step {row.held.step:,}  {safe(row.held.name)}", style)]
        best = row.run.best if row.run else None
        star = " *" if best is not None and best[1] == item.step else ""
        return [(f"step {item.step:,}{star}  {item.id[:8]}", style)]
    words = [(safe(row.node.key), "bold" if row.node.run else "bad")]
    if row.node.copy_of:
        words.append((f" copy of {safe(row.node.copy_of)}", "dim"))
    elif row.node.born_as:
        words.append((f" was {safe(row.node.born_as)}", "dim"))
    return words


def _columns(desk: Desk) -> list[Column[Row]]:
    return [
        Column("STATE", 10, lambda row: _state(desk, row), 0),
        Column("SCORE", 7, lambda row: _plain(row, number(_score(row))), 1, right=True),
        Column("FLOP", 10, lambda row: _plain(row, _flop(_own(row))), 2, right=True),
        Column("ANCESTRY", 10, lambda row: _plain(row, _flop(_with_ancestry(row))), 3, right=True),
        Column("SIZE", 10, lambda row: _plain(row, _size(row)), 4, right=True),
        Column("TIME", 7, lambda row: _plain(row, _time(_own(row))), 5, right=True),
    ]


def _plain(row: Row, text: str) -> Span:
    """A cell of figures; exports and what is folded have none."""
    dim = row.held is not None and row.held.state == "deleted"
    return Span("" if row.export or row.folded else text, "dim" if dim else "")


def _state(desk: Desk, row: Row) -> Span:
    if row.export or row.folded:
        return Span("")
    if row.held is not None:
        state = desk.lineage.state(row)
        return Span(state, STYLES.get(state, ""))
    if row.run is not None:
        return state_span(desk, row.run, 10)
    return Span(row.node.state, STYLES.get(row.node.state, ""))


def _score(row: Row) -> float | None:
    """What checkpoints are judged by; of a run, its best."""
    if row.held is None:
        if row.run is not None and row.run.best:
            return row.run.best[0]
        return row.node.best.value if row.node.best else None
    item = row.checkpoint
    return item.metrics.get(criterion([item])[0]) if item else None


def _own(row: Row) -> Cost:
    """Spent on the run up to here."""
    if row.held is None:
        return row.node.own
    info = row.checkpoint.info if row.checkpoint else {}
    flops, seconds = (info.get(name) for name in ("flops", "seconds"))
    return Cost(
        float(flops) if isinstance(flops, int | float) else None,
        float(seconds) if isinstance(seconds, int | float) else None,
    )


def _with_ancestry(row: Row) -> Cost:
    """Spent up to here, and on all that the run comes from."""
    if row.held is None:
        return row.node.ancestry
    return _own(row) + row.node.inherited


def _flop(cost: Cost) -> str:
    return "-" if cost.flops is None else flop(cost.flops)


def _time(cost: Cost) -> str:
    return "-" if cost.seconds is None else duration(cost.seconds)


def _size(row: Row) -> str:
    return size(row.checkpoint.size) if row.checkpoint else ""


def _about(desk: Desk, row: Row, history: list[Ancestor], columns: int) -> list[Line]:
    """What is under the cursor, and what it comes from."""
    rule = Span(("-" if desk.marker == "ascii" else "─") * columns, "dim")
    lines: list[Line] = [(rule,)]
    if row.export:
        lines.append(line((f" export of {safe(row.node.key)}", "bold")))
        return [*lines, line(f"  {safe(row.export)}")]
    if row.folded:
        lines.append(line((f" {row.folded} deleted checkpoints of {safe(row.node.key)}", "bold")))
        return [*lines, line(("  Their manifests are left. enter shows them one by one.", "dim"))]
    lines.append(line((f" {safe(row.reference)}", "bold")))
    lines += _checkpoint_facts(desk, row) if row.held is not None else _run_facts(row)
    own, all_of_it = _own(row), _with_ancestry(row)
    if own != Cost():
        lines.append(_cost("cost", own))
    if all_of_it != own and all_of_it != Cost():
        lines.append(_cost("with ancestry", all_of_it))
    if row.held is not None:
        history = [ancestor for ancestor in history if ancestor.depth]
    if history:
        words = "comes from" if row.held is not None else "its newest checkpoint, and what that comes from"
        lines.append(line((f"  {words}", "dim")))
        lines += [_ancestor(desk, step, columns) for step in _thinned(history)]
    return [fit(item, columns) for item in lines]


def _cost(label: str, cost: Cost) -> Line:
    return line((f"  {label:<14}", "dim"), f"{_flop(cost)}, {_time(cost)}".removesuffix(", -"))


def _run_facts(row: Row) -> list[Line]:
    if row.node.run is None:
        origin = row.node.origin
        return [
            line(("  is not here: copy its run's folder into the runs folder.", "dim")),
            line(("  its child tells ", "dim"), safe(str(origin) if origin else "nothing of it")),
        ]
    lines: list[Line] = []
    if row.run is not None:
        if row.run.health.reason:
            lines.append(line((f"  {safe(row.run.health.reason)}", "dim")))
        words = {"seconds": length_of_time, "peak_memory": size}
        took = [
            f"{words.get(name, short)(row.run.actual[name])} {'' if name in words else name}".strip()
            for name in ("seconds", "tokens", "flops", "peak_memory")
            if name in row.run.actual
        ]
        if took:
            lines.append(line(("  took          ", "dim"), ", ".join(took)))
        if fingerprint := row.run.plan.get("fingerprint"):
            lines.append(line(("  fingerprint   ", "dim"), safe(str(fingerprint)[:16])))
    if row.node.best is not None:
        best = row.node.best
        lines.append(
            line(
                ("  best          ", "dim"), f"{safe(best.metric)} {number(best.value)} at step {best.step:,}"
            )
        )
    return lines


def _checkpoint_facts(desk: Desk, row: Row) -> list[Line]:
    assert row.held is not None
    item, state = row.held.checkpoint, desk.lineage.state(row)
    if item is None:
        return [line(("  its manifest can't be read", "bad"))]
    lines = [line(("  id            ", "dim"), item.id[:40], "  ", (state, STYLES.get(state, "dim")))]
    # There may be many: what it is judged by comes first.
    judged = criterion([item])[0]
    names = sorted(item.metrics, key=lambda name: (name != judged, name != "train/loss", name))
    told = [
        f"{name} {number(item.metrics[name])}" for name in names if name.startswith(("train/loss", "val/"))
    ]
    if told:
        lines.append(line("  ", safe(", ".join(told))))
    return lines


def _thinned(history: list[Ancestor]) -> list[Ancestor | int]:
    """Each run's own steps in between, left out where there are many."""
    found: list[Ancestor | int] = []
    for index, here in enumerate(history):
        inner = (
            0 < index < len(history) - 1
            and here.run is not None
            and history[index - 1].run == here.run == history[index + 1].run
        )
        if not inner:
            found.append(here)
        elif found and isinstance(found[-1], int):
            found[-1] += 1
        else:
            found.append(1)
    return found


def _ancestor(desk: Desk, step: Ancestor | int, columns: int) -> Line:
    if isinstance(step, int):
        return line((f"    … {step} more of it", "dim"))
    state = desk.lineage.state_of(step)
    style = STYLES.get(state, "dim")
    if step.checkpoint is None:
        where = str(step.origin) if step.origin else step.id[:12]
        return line(f"    {clip(safe(where), max(columns - 14, 8))} ", (state, style))
    tail = f" step {step.checkpoint.step:,} "
    name = clip(safe(str(step.run)), max(columns - 16 - width(tail), 8))
    return line(f"    {name}{tail}", (state, style))
