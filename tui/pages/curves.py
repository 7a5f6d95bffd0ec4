"""The curves of a metric over several runs, with what happened to the runs as marks on them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.store.tail import Points
from tui.lines import Line, safe
from tui.plot.chart import Chart, Mark, Trace, XAxis, draw, value_at, x_text
from tui.plot.raster import Numbers
from tui.plot.ticks import number
from tui.state import Desk
from tui.styles import series_style
from tui.watched import Watched

SIGNS = {
    "checkpoint": ("◆", "o"),
    "resumed": ("▸", ">"),
    "nan": ("✗", "x"),
    "spike": ("▲", "^"),
    "throttle": ("T", "T"),
    "xid": ("X", "X"),
}

MARKS = 60
"""Signs of one kind on a curve: more would hide it."""

_drawn: dict[tuple[Any, ...], Chart] = {}


def chart_lines(
    desk: Desk, tag: str, runs: Sequence[Watched], size: tuple[int, int], *, title: str = "", at: bool = False
) -> list[Line]:
    """The chart in so many columns and rows; drawn again only when something in it changed."""
    key = (
        *(tag, size, title, at, desk.smoothing, desk.x_axis, desk.log, desk.outliers, desk.x_range),
        *(desk.cursor, desk.marker),
        *((run.name, run.number, run.amount(tag), len(run.events)) for run in runs),
    )
    chart = _drawn.get(key)
    if chart is None:
        if len(_drawn) > 128:
            _drawn.clear()
        chart = _drawn[key] = chart_of(desk, tag, runs, title=title)
        if at:
            chart.title_style = "title at"
        chart.lines = draw(chart, *size)
        chart.traces = chart.marks = ()  # the columns are large
    if desk.x_range is None and chart.framed:
        desk.full_range = chart.framed
    return chart.lines


def chart_of(desk: Desk, tag: str, runs: Sequence[Watched], *, title: str = "", marks: bool = True) -> Chart:
    """The chart of a metric; the last of the runs is drawn on top, and its events are marked."""
    traces: list[Trace] = []
    raws: list[Trace] = []
    several = len(runs) > 1
    for run in runs:
        points = run.points(tag)
        if points is None:
            continue
        if run is runs[-1]:
            raws += _lost(desk, run, tag)
        x = along(desk, run, points)
        style, letter = series_style(run), desk.letter(run) if several else ""
        y = points.values
        if desk.smoothing and len(x) > 2:
            raws.append(Trace(x, points.values, f"{style} raw", run.name))
            y = desk.smoother(run, tag).update(points.values)
            x = x[: len(y)]
        traces.append(Trace(x, y, style, run.name, letter))
    chart = Chart(
        title or safe(tag),
        [*raws, *traces],
        x_axis=desk.x_axis,
        log=desk.log,
        clip_outliers=desk.outliers,
        x_range=desk.x_range,
        cursor=desk.cursor,
        marker=desk.marker,
    )
    if traces:
        chart.note = _note(desk, traces)
        if marks and runs and runs[-1].name == traces[-1].name:
            chart.marks = marks_of(desk, runs[-1], tag)
    return chart


def along(desk: Desk, run: Watched, points: Points) -> Numbers:
    """The x values of points on the axis chosen. Tokens are read off the run's own count of them."""
    axis: XAxis = desk.x_axis
    if axis == "wall":
        return points.wall
    if axis == "relative":
        first = run.points(run.loss_tag or "")
        begin = min(float(points.wall[0]), float(first.wall[0]) if first is not None else math.inf)
        return points.wall - begin
    if axis == "tokens":
        tokens = run.points("train/tokens")
        if tokens is not None:
            return np.interp(points.steps, tokens.steps, tokens.values.astype(np.float64))
    return points.steps


def follow(desk: Desk) -> None:
    """Slide the zoom to the newest point."""
    if desk.x_range is None or not desk.follow:
        return
    begin, end = desk.x_range
    newest = max((_newest(desk, run) for run in desk.overlaid()), default=-math.inf)
    if newest > end:
        wide = end - begin
        desk.x_range = newest - wide * 0.95, newest + wide * 0.05


def _newest(desk: Desk, run: Watched) -> float:
    """Where a run's curves end."""
    points = run.points(run.loss_tag or "")
    if points is None:
        return -math.inf
    last = Points(points.steps[-1:], points.wall[-1:], points.values[-1:])
    return float(along(desk, run, last)[-1])


def marks_of(desk: Desk, run: Watched, tag: str) -> list[Mark]:
    """Checkpoints and resumes on the curves of a run's losses; alerts on that of its training."""
    if run.points(tag) is None or "loss" not in tag.lower():
        return []
    column = 1 if desk.marker == "ascii" else 0
    found: list[tuple[str, str, list[int]]] = []
    for kind, style in (("checkpoint", "done"), ("resumed", "warn")):
        steps = [int(event["step"]) for event in run.events if event["kind"] == kind and _is_step(event)]
        found.append((SIGNS[kind][column], style, steps))
    if tag == run.loss_tag:
        found += [(SIGNS[kind][column], "bad", steps) for kind, steps in alerts(desk, run)]
    reference = run.points(tag)
    if desk.x_axis in ("tokens",):
        reference = run.points("train/tokens") or reference
    assert reference is not None
    xs = along(desk, run, reference)
    marks = []
    for glyph, style, steps in found:
        for step in steps[-MARKS:]:
            place = min(int(np.searchsorted(reference.steps, step)), len(xs) - 1)
            x = float(step) if desk.x_axis == "step" else float(xs[place])
            marks.append(Mark(x, glyph, style))
    return marks


def alerts(desk: Desk, run: Watched) -> list[tuple[str, list[int]]]:
    """Kinds of alerts and their steps: loss not finite, loss spiking, a GPU slowed down, a GPU's fault."""
    found: list[tuple[str, list[int]]] = []
    tag = run.loss_tag or ""
    points = run.points(tag)
    if points is not None:
        found.append(("nan", points.steps[~np.isfinite(points.values)].tolist()))
        found.append(("spike", points.steps[desk.spikes(run, tag).update(points.values)].tolist()))
    for tag in run.tags:
        if tag.endswith("/throttle") and (slowed := run.points(tag)) is not None:
            on = slowed.values > 0
            begins = on & ~np.concatenate(([False], on[:-1]))
            found.append(("throttle", slowed.steps[begins].tolist()))
        elif tag.endswith("/xid") and (faults := run.points(tag)) is not None:
            found.append(("xid", faults.steps.tolist()))
    return [(kind, steps) for kind, steps in found if steps]


def _lost(desk: Desk, run: Watched, tag: str) -> list[Trace]:
    """What a resume superseded, dim."""
    series = run.series.get(tag)
    if series is None:
        return []
    return [
        Trace(along(desk, run, lost), lost.values, "lost", run.name)
        for lost in list(series.lost)
        if len(lost.steps) > 1
    ]


def _note(desk: Desk, traces: Sequence[Trace]) -> str:
    """The values at the cursor, else the last, of at most three runs."""
    parts = []
    for trace in list(traces)[::-1][:3]:
        value = value_at(trace, desk.cursor) if desk.cursor is not None else float(trace.y[-1])
        parts.append(f"{trace.label} {number(value)}".strip())
    text = "  ".join(parts)
    if desk.cursor is not None:
        text += f" @ {x_text(desk.cursor, desk.x_axis)}"
    return text


def _is_step(event: dict[str, object]) -> bool:
    return isinstance(event.get("step"), int)
