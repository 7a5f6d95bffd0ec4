"""A line chart as lines of text: curves, axes, marks on the curves, a cursor."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tui.lines import Line, Span, clip, fit, width
from tui.plot.raster import GRIDS, Marker, Numbers, Window, cells, find, rasterise
from tui.plot.ticks import Ticks, clock_ticks, linear_ticks, log_ticks, number, step_for, time_ticks

XAxis = Literal["step", "tokens", "relative", "wall"]
MARK_SPACE = 4
"""Cells between marks of one kind: more of them would hide the curve."""
SPARK = {"braille": "▁▂▃▄▅▆▇█", "block": "▁▂▃▄▅▆▇█", "ascii": "_.-=oO#@"}


@dataclass(frozen=True)
class Trace:
    """A curve: x (n,) not falling, y (n,), and how it is drawn."""

    x: Numbers
    y: Numbers
    style: str
    name: str = ""
    label: str = ""
    """A character at its end, which tells it apart without colour."""


@dataclass(frozen=True)
class Mark:
    """A sign at `x` on the curve that is drawn last, or at `y` where that is given."""

    x: float
    glyph: str
    style: str
    y: float | None = None


@dataclass
class Chart:
    """What a chart shows. Traces are drawn in their order, the last on top."""

    title: str
    traces: Sequence[Trace] = ()
    marks: Sequence[Mark] = ()
    x_axis: XAxis = "step"
    log: bool = False
    clip_outliers: bool = False
    x_range: tuple[float, float] | None = None
    """What part is shown; None for all there is, with room on the right for more."""
    cursor: float | None = None
    marker: Marker = "braille"
    note: str = ""
    """Said at the right of the title."""
    title_style: str = "title"
    empty: str = "no points yet"
    framed: tuple[float, float] | None = field(default=None, init=False)
    """The x range that was drawn last."""
    lines: list[Line] = field(default_factory=list, init=False)
    """What was drawn last, for those who keep it."""


def draw(chart: Chart, columns: int, rows: int) -> list[Line]:
    """The chart in `rows` lines of `columns` cells: the title, the curves, the x axis."""
    height = rows - 2
    head = _title(chart, columns)
    shown = [trace for trace in chart.traces if len(trace.x)]
    scaled = [np.log10(np.where(t.y > 0, t.y, np.nan)) if chart.log else t.y for t in shown]
    bounds = _bounds(chart, shown, scaled)
    if height < 2 or columns < 16 or bounds is None:
        blank = [fit((), columns)] * max(height // 2, 0)
        body = [*blank, fit((Span(f"  {chart.empty}", "dim"),), columns)]
        return ([head, *body] + [fit((), columns)] * rows)[:rows]
    count = max(2, min(height // 3 + 1, 8))
    y_ticks = _y_ticks(chart, bounds[2], bounds[3], count)
    gutter = max((width(label) for label in y_ticks.labels), default=0) + 1
    gutter = min(max(gutter, 6), columns // 3)
    wide = columns - gutter
    chart.framed = bounds[0], bounds[1]
    window = Window(*bounds)
    grid = GRIDS[chart.marker]
    codes = np.zeros((height, wide), np.uint8)
    owner = np.full((height, wide), -1, np.int16)
    for index, (trace, y) in enumerate(zip(shown, scaled, strict=True)):
        dots = rasterise(trace.x, y, window, (height * grid.down, wide * grid.across))
        drawn = cells(dots, chart.marker)
        there = drawn > 0
        codes[there] |= drawn[there]
        owner[there] = index
    overlay = _overlay(chart, shown, scaled, window, (height, wide), owner)
    styles = [trace.style for trace in shown]
    lines = [head]
    labels = _places(y_ticks, window, height)
    for row in range(height):
        label = clip(labels.get(row, ""), gutter - 1)
        edge = "┤" if row in labels else "│"
        if chart.marker == "ascii":
            edge = "+" if row in labels else "|"
        lines.append(
            (
                Span(label.rjust(gutter - 1) + edge, "axis"),
                *_cells(codes[row], owner[row], styles, overlay.get(row, {}), grid.characters),
            )
        )
    lines.append(_x_axis(chart, window, gutter, wide))
    return lines


def sparkline(values: NDArray[np.float64], columns: int, marker: Marker = "braille") -> str:
    """Values in one row of characters, as many as `columns`; blanks where there is none."""
    finite = values[np.isfinite(values)]
    if not len(finite) or columns < 1:
        return " " * columns
    edges = np.linspace(0, len(finite), min(columns, len(finite)) + 1).astype(int)
    means = np.add.reduceat(finite, edges[:-1]) / np.diff(edges)
    low, high = float(means.min()), float(means.max())
    ramp = SPARK[marker]
    level = (means - low) / (high - low) * (len(ramp) - 1) if high > low else np.zeros(len(means))
    return "".join(ramp[round(item)] for item in level.tolist()).rjust(columns)


def bar(share: float | None, columns: int, marker: Marker = "braille") -> str:
    """A share of 1 as a bar of so many cells; in eighths of a cell where the terminal can."""
    if share is None or not math.isfinite(share):
        return ("·" if marker != "ascii" else ".") * columns
    share = min(max(share, 0.0), 1.0)
    if marker == "ascii":
        full = round(share * columns)
        return "#" * full + "." * (columns - full)
    eighths = round(share * columns * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return text + "░" * (columns - len(text))


def value_at(trace: Trace, x: float) -> float | None:
    """The trace's value at its last point not after `x`; its first before that."""
    if not len(trace.x):
        return None
    return float(trace.y[max(find(trace.x, x, right=True) - 1, 0)])


def x_text(value: float, axis: XAxis) -> str:
    """A place on the x axis in words."""
    if axis == "step":
        return f"{value:,.0f}"
    if axis == "tokens":
        return number(value)
    return time_ticks(value, value + 1, 1).labels[0] if axis == "relative" else _clock(value)


def _clock(value: float) -> str:
    import time

    return time.strftime("%m-%d %H:%M:%S", time.localtime(value))


def _title(chart: Chart, columns: int) -> Line:
    note = clip(chart.note, max(columns - 8, 0))
    title = clip(chart.title, columns - width(note) - (1 if note else 0))
    gap = columns - width(title) - width(note)
    return fit((Span(title, chart.title_style), Span(" " * gap), Span(note, "dim")), columns)


def _bounds(
    chart: Chart, traces: Sequence[Trace], scaled: Sequence[Numbers]
) -> tuple[float, float, float, float] | None:
    if not traces:
        return None
    if chart.x_range:
        left, right = chart.x_range
    else:
        left = min(float(trace.x[0]) for trace in traces)
        right = max(float(trace.x[-1]) for trace in traces)
        if right > left:
            # Room on the right in round steps: a new point then seldom moves all the others.
            step = step_for(right - left, 20)
            right = left + math.ceil((right - left) / step + 0.5) * step
        else:
            right = left + 1
    inside = []
    for trace, y in zip(traces, scaled, strict=True):
        part = y[find(trace.x, left) : find(trace.x, right, right=True)]
        if len(part) and not (np.isfinite(part.min()) and np.isfinite(part.max())):
            part = part[np.isfinite(part)]
        if len(part):
            inside.append(part)
    if not inside:
        return None
    if chart.clip_outliers:
        low = min(float(np.quantile(part, 0.02)) for part in inside)
        high = max(float(np.quantile(part, 0.98)) for part in inside)
    else:
        low, high = min(float(part.min()) for part in inside), max(float(part.max()) for part in inside)
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # as flat as float32 can tell
        margin = abs(low) * 0.05 or 0.5
        return left, right, low - margin, high + margin
    step = step_for(high - low, 10)
    return left, right, math.floor(low / step - 0.05) * step, math.ceil(high / step + 0.05) * step


def _y_ticks(chart: Chart, low: float, high: float, count: int) -> Ticks:
    return log_ticks(low, high, count) if chart.log else linear_ticks(low, high, count)


def _places(ticks: Ticks, window: Window, height: int) -> dict[int, str]:
    span = window.top - window.bottom
    rows: dict[int, str] = {}
    for place, label in zip(*ticks, strict=True):
        row = round((window.top - place) / span * (height - 1))
        if 0 <= row < height:
            rows.setdefault(row, label)
    return rows


def _overlay(
    chart: Chart,
    traces: Sequence[Trace],
    scaled: Sequence[Numbers],
    window: Window,
    size: tuple[int, int],
    owner: NDArray[np.int16],
) -> dict[int, dict[int, tuple[str, str]]]:
    """Characters that stand in the place of dots, by row and column."""
    height, wide = size
    found: dict[int, dict[int, tuple[str, str]]] = {}
    column = _along(window, wide)
    level = _down(window, height)
    if chart.cursor is not None and 0 <= (at := column(chart.cursor)) < wide:
        bar_character = "|" if chart.marker == "ascii" else "│"
        for row in range(height):
            if owner[row, at] < 0:
                found.setdefault(row, {})[at] = (bar_character, "cursor-line")
    for trace, y in zip(traces, scaled, strict=True):
        if not trace.label:
            continue
        last = _last_finite(y, find(trace.x, window.right, right=True))
        if last is not None and trace.x[last] >= window.left:
            at = min(column(float(trace.x[last])) + 1, wide - 1)
            found.setdefault(level(float(y[last])), {})[at] = (trace.label, trace.style)
    base = next(((t, y) for t, y in zip(traces[::-1], scaled[::-1], strict=True) if len(t.x)), None)
    taken: dict[str, int] = {}
    for mark in chart.marks:
        at = column(mark.x)
        if not 0 <= at < wide or base is None or abs(at - taken.get(mark.glyph, -99)) < MARK_SPACE:
            continue
        taken[mark.glyph] = at
        y_mark = mark.y
        if y_mark is None:
            place = _last_finite(base[1], max(find(base[0].x, mark.x, right=True), 1))
            y_mark = float(base[1][place]) if place is not None else window.bottom
        elif chart.log:
            y_mark = math.log10(y_mark) if y_mark > 0 else window.bottom
        found.setdefault(level(y_mark), {})[at] = (mark.glyph, mark.style)
    return found


def _last_finite(values: Numbers, end: int) -> int | None:
    """The last place before `end` with a value that can be drawn."""
    while end > 0:
        begin = max(end - 1024, 0)
        whole = np.flatnonzero(np.isfinite(values[begin:end]))
        if len(whole):
            return begin + int(whole[-1])
        end = begin
    return None


def _along(window: Window, wide: int) -> Callable[[float], int]:
    span = window.right - window.left
    return lambda x: min(round((x - window.left) / span * (wide - 1)), 10**6)


def _down(window: Window, height: int) -> Callable[[float], int]:
    span = window.top - window.bottom
    return lambda y: min(max(round((window.top - y) / span * (height - 1)), 0), height - 1)


def _cells(
    codes: NDArray[np.uint8],
    owner: NDArray[np.int16],
    styles: Sequence[str],
    over: dict[int, tuple[str, str]],
    characters: str,
) -> list[Span]:
    """A row of cells as spans of one style each."""
    text = codes.tobytes().decode("latin-1").translate(characters)
    names = list(styles)
    if over:
        owner = owner.copy()
        letters = list(text)
        for at, (character, style) in over.items():
            letters[at] = character
            owner[at] = len(names)
            names.append(style)
        text = "".join(letters)
    names.append("")  # of cells that nothing owns: -1
    edges = [0, *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist(), len(text)]
    return [Span(text[begin:end], names[owner[begin]]) for begin, end in pairwise(edges)]


def _x_axis(chart: Chart, window: Window, gutter: int, wide: int) -> Line:
    count = max(2, wide // 14)
    makers: dict[XAxis, Callable[[], Ticks]] = {
        "step": lambda: linear_ticks(window.left, window.right, count, whole=True),
        "tokens": lambda: linear_ticks(window.left, window.right, count, whole=True),
        "relative": lambda: time_ticks(window.left, window.right, count),
        "wall": lambda: clock_ticks(window.left, window.right, count),
    }
    text = [" "] * (gutter + wide)
    column = _along(window, wide)
    taken = -1
    for place, label in zip(*makers[chart.x_axis](), strict=True):
        begin = max(gutter + column(place) - len(label) // 2, 0)
        begin = min(begin, gutter + wide - len(label))
        if begin > taken:
            text[begin : begin + len(label)] = label
            taken = begin + len(label)
    return (Span("".join(text), "axis"),)
