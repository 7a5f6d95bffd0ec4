"""Runs: the table, the losses of the chosen ones in a chart, and this machine."""

import time
from collections.abc import Mapping

import numpy as np

from tui.filters import look_up
from tui.lines import Line, Span, beside, clip, fit, line, pad, safe
from tui.pages.curves import chart_lines, follow
from tui.pages.frame import state_span
from tui.pages.strip import host_strip
from tui.pages.table import Column, choose, head, row, scrolled
from tui.plot.chart import bar, sparkline
from tui.plot.ticks import duration, number
from tui.state import Desk
from tui.styles import series_style
from tui.watched import Watched

SORTS = {
    "RUN": "name",
    "STATE": "state",
    "DONE": "progress",
    "STEP": "step",
    "LOSS": "loss",
    "BEST VAL": "best",
    "TOK/S": "perf/tokens_per_second",
    "MFU": "perf/mfu",
    "GIB": "memory/peak_gib",
}
"""The key by which a column sorts."""
CHART_ROWS = 22
"""That charts have at least, where the table is long."""
TWO_CHARTS = 160
"""Columns from which there are two."""
DETAILS = 38
"""Cells of the pane beside the chart."""


def draw_runs(desk: Desk, columns: int, rows: int) -> list[Line]:
    runs = desk.runs()
    if not runs:
        return _nothing(desk)
    current = desk.current()
    names = [run.name for run in runs]
    at = names.index(current.name) if current and current.name in names else 0
    strip = host_strip(desk, current, columns, max(rows // 10, 1))
    wanted = len(runs) + 1
    table_rows = max(min(wanted, max(rows * 2 // 5, rows - CHART_ROWS - len(strip))), 4)
    desk.top = scrolled(desk.top, at, table_rows - 1, len(runs))
    chosen = choose(_columns(desk), columns)
    mark = next((title for title, key in SORTS.items() if key == desk.sort.removeprefix("-")), "")
    lines = [head(chosen, mark)]
    for index in range(desk.top, min(desk.top + table_rows - 1, len(runs))):
        lines.append(_row(desk, chosen, runs[index], columns, at=index == at))
    lines += [()] * (table_rows - len(lines))
    chart_rows = rows - table_rows - len(strip)
    if chart_rows >= 4 and current is not None:
        lines += _lower(desk, current, columns, chart_rows)
    lines += [()] * (rows - len(strip) - len(lines))
    return [*lines[: rows - len(strip)], *strip]


def _row(
    desk: Desk, chosen: list[tuple[Column[Watched], int]], run: Watched, columns: int, *, at: bool
) -> Line:
    """The run's row: the one drawn before, unless something in it changed."""
    # A run that is over changes with its day only, one that goes on with every look.
    key = (run.version, at, _chosen(desk, run), desk.marker, columns, [cells for _, cells in chosen])
    kept = _rows.get(run.name)
    if kept is None or kept[0] != key:
        if len(_rows) > 2000:
            _rows.clear()
        kept = _rows[run.name] = key, row(chosen, run, at=at)
    return kept[1]


_rows: dict[str, tuple[object, Line]] = {}


def _lower(desk: Desk, current: Watched, columns: int, rows: int) -> list[Line]:
    tag = current.loss_tag or "loss"
    runs = desk.overlaid()
    follow(desk)
    if columns < 120:
        return chart_lines(desk, tag, runs, (columns, rows))
    tags = [tag]
    if columns >= TWO_CHARTS and (second := _second(current)) is not None:
        tags.append(second)
    wide = (columns - DETAILS - len(tags)) // len(tags)
    charts = [(chart_lines(desk, tag, runs, (wide, rows)), wide) for tag in tags]
    rest = columns - len(tags) * (wide + 1)
    return beside([*charts, (_details(desk, current), rest)], rows)


def _second(run: Watched) -> str | None:
    """What is worth seeing beside the loss: the validation's, else how fast it goes."""
    known = (tag for tag in (run.validation_tag, "perf/tokens_per_second") if tag is not None)
    return next((tag for tag in known if (points := run.points(tag)) and len(points.steps) > 1), None)


def _nothing(desk: Desk) -> list[Line]:
    if desk.run_filter.text:
        lines = [(), line(f"  No run passes the filter {desk.run_filter.text!r}. / changes it.")]
        runs = desk.library.runs.values()
        unknown = [key for key in desk.run_filter.keys if all(look_up(run, key) is None for run in runs)]
        return lines + [line(f"  No run has a value for {key!r}.") for key in unknown]
    return [
        (),
        line(f"  No runs and no event files in {safe(str(desk.library.root))} yet."),
        line(
            ("  `tk run SPEC` begins one; n starts one from here. What is written shows up by itself.", "dim")
        ),
    ]


def _columns(desk: Desk) -> list[Column[Watched]]:
    longest = max((len(run.name) for run in list(desk.library.runs.values())), default=8)
    sparks = 10
    return [
        Column("", 2, lambda run: Span(_chosen(desk, run), series_style(run)), 0),
        Column(
            "RUN", min(longest, 18), lambda run: Span(_name(run, 60)), 1, grows=max(min(longest, 40) - 18, 0)
        ),
        Column("STATE", 10, lambda run: state_span(desk, run), 2),
        Column("DONE", 4, lambda run: Span(_share(run)), 3, right=True),
        Column("", 8, lambda run: Span(_bar(desk, run), "dim"), 12),
        Column("ETA", 6, lambda run: Span(_left(run)), 5, right=True),
        Column("STEP", 7, lambda run: Span(_count(run.step)), 6, right=True),
        Column("LOSS", 7, lambda run: Span(number(run.loss), "bad" if _broken(run) else ""), 4, right=True),
        Column("", sparks, lambda run: Span(_spark(desk, run, sparks), series_style(run)), 9),
        Column("BEST VAL", 8, lambda run: Span(number(run.best[0] if run.best else None)), 7, right=True),
        Column("TOK/S", 6, lambda run: Span(number(run.last("perf/tokens_per_second"), 3)), 8, right=True),
        Column("MFU", 4, lambda run: Span(_percent(run.last("perf/mfu"))), 10, right=True),
        Column("GIB", 5, lambda run: Span(number(run.last("memory/peak_gib"), 3)), 11, right=True),
        Column("PARENT", 12, lambda run: Span(safe(_parent(run)), "dim"), 13, grows=20),
        Column("CHANGED", 7, lambda run: Span(_ago(run), "dim"), 14, right=True),
    ]


def _chosen(desk: Desk, run: Watched) -> str:
    first = "^" if run.name in desk.pinned else ("*" if run.name in desk.selected else " ")
    if desk.marker != "ascii":
        first = {"^": "▴", "*": "●"}.get(first, " ")
    return first + desk.letter(run)


def _name(run: Watched, cells: int) -> str:
    return clip(safe(run.name), cells)


def _share(run: Watched) -> str:
    if run.step is None or not run.steps:
        return "-"
    return f"{min(100 * run.step // run.steps, 100)}%"


def _bar(desk: Desk, run: Watched) -> str:
    return bar(run.step / run.steps if run.step is not None and run.steps else None, 8, desk.marker)


def _left(run: Watched) -> str:
    left = run.seconds_left
    return "-" if left is None else duration(_coarse(left))


def _coarse(seconds: float) -> float:
    """In steps of a fifth or less, so that it doesn't change at every look."""
    for unit in (3600, 600, 60, 10, 5):
        if seconds >= 10 * unit:
            return round(seconds / unit) * unit
    return seconds


def _count(value: int | None) -> str:
    if value is None:
        return "-"
    return str(value) if value < 1_000_000 else number(float(value))


def _spark(desk: Desk, run: Watched, cells: int) -> str:
    points = run.points(run.loss_tag or "")
    if points is None:
        return ""
    return sparkline(points.values.astype(np.float64), cells, desk.marker)


def _broken(run: Watched) -> bool:
    return run.loss is not None and not np.isfinite(run.loss)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}%"


def _parent(run: Watched) -> str:
    parent = run.parent or ""
    return parent[:12] if len(parent) == 64 else parent


def _ago(run: Watched) -> str:
    when = run.status.time if run.status else run.last_time
    if when is None or run.at_work:
        return "now" if run.at_work else "-"
    return time.strftime("%H:%M" if time.time() - when < 86400 else "%d %b", time.localtime(when))


def _details(desk: Desk, run: Watched) -> list[Line]:
    """The run under the cursor in words."""
    lines = [line((f" {_name(run, DETAILS - 2)}", "bold")), fit((Span(" "), state_span(desk, run)), DETAILS)]
    reason = safe(run.health.reason)
    width = DETAILS - 2
    while reason and len(lines) < 6:
        lines.append(line((f" {reason[:width]}", "dim")))
        reason = reason[width:]
    facts: list[tuple[str, str]] = []
    if run.step is not None:
        facts.append(("step", f"{run.step:,} of {run.steps:,}" if run.steps else f"{run.step:,}"))
    if run.status and run.status.attempt > 1:
        facts.append(("attempt", str(run.status.attempt)))
    if run.best:
        metric = run.status.best.metric if run.status and run.status.best else run.validation_tag or ""
        facts.append((f"best {metric.rpartition('/')[2]}", f"{run.best[0]:.4f} at step {run.best[1]}"))
    if run.step_seconds:
        facts.append(("step time", f"{run.step_seconds:.3g} s"))
    for tag in ("val/bits_per_byte", "train/lr", "train/grad_norm", "perf/data_wait_seconds"):
        if (value := run.last(tag)) is not None:
            words = tag.rpartition("/")[2].removesuffix("_seconds").replace("_", " ")
            facts.append((words, number(value) + (" s" if tag.endswith("_seconds") else "")))
    facts += _about(run.plan)
    saved = [event for event in run.events if event["kind"] == "checkpoint"]
    if saved:
        facts.append(("checkpoint", f"step {saved[-1].get('step')}, {len(saved)} written"))
    if run.parent:
        facts.append(("parent", _parent(run)))
    for label, text in facts:
        lines.append(line((f" {pad(label, 15)}", "dim"), clip(safe(text), DETAILS - 17)))
    return lines


def _about(plan: Mapping[str, object]) -> list[tuple[str, str]]:
    found = []
    parameters = plan.get("parameters")
    if isinstance(parameters, Mapping):
        total = parameters.get("total")
        if isinstance(total, int):
            found.append(("parameters", number(float(total))))
    for key, words in (("tokens", "tokens"), ("device", "device"), ("precision", "precision")):
        told = plan.get(key)
        if isinstance(told, int | float):
            found.append((words, number(float(told))))
        elif isinstance(told, str):
            found.append((words, told))
    return found
