"""Curves as dots in cells: per column of dots the least and the greatest value, so that no spike is lost."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Marker = Literal["braille", "block", "ascii"]
Columns = NDArray[np.float64]
Numbers = NDArray[np.number[Any]]
"""A curve's x or y as it is kept: a copy in float64 would take more than the curve itself."""
MOST = 1 << 62
GAP = 12
"""A hole in a curve is left open where it is so many times as wide as the points are usually apart."""


class Grid(NamedTuple):
    """How many dots a cell has, and the character for each set of them, bits row by row."""

    across: int
    down: int
    characters: str


def _braille() -> str:
    order = [0x01, 0x08, 0x02, 0x10, 0x04, 0x20, 0x40, 0x80]
    codes = [sum(bit for index, bit in enumerate(order) if mask >> index & 1) for mask in range(256)]
    return "".join(chr(0x2800 + code) if code else " " for code in codes)


GRIDS: dict[Marker, Grid] = {
    "braille": Grid(2, 4, _braille()),
    "block": Grid(2, 2, " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"),
    "ascii": Grid(1, 2, " '.:"),
}
"""Braille in eight dots, quadrants in four, and two for terminals with nothing but ASCII."""


class Window(NamedTuple):
    """What part of the plane is drawn; y already in the scale that is drawn."""

    left: float
    right: float
    bottom: float
    top: float


def find(x: Numbers, value: float, *, right: bool = False) -> int:
    """Where a value belongs in x, which doesn't fall: before what equals it, or to the `right` of that."""
    if x.dtype.kind == "i":
        # For a float the whole of x would be converted.
        whole = math.floor(value) if right else math.ceil(value)
        value = min(max(whole, -MOST), MOST)
    return int(np.searchsorted(x, value, "right" if right else "left"))


def rasterise(x: Numbers, y: Numbers, window: Window, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The dots of a curve, (rows of dots, columns of dots), the first row at the top.

    Args:
        x: Not falling, (n,).
        y: Values, (n,); where they are not finite the curve is interrupted.
        size: Rows and columns of dots.
    """
    rows, columns = size
    dots = np.zeros((rows, columns), bool)
    # The points just outside, too, so that the curve goes on to the edge.
    first, last = find(x, window.left), find(x, window.right, right=True)
    near = slice(max(first - 1, 0), last + 1)
    x, y = x[near], y[near]
    cuts = np.empty(0, np.int64)
    if not (whole := np.isfinite(y)).all():
        # Where the curve is interrupted, as a place between points that are left.
        cuts = np.searchsorted(np.flatnonzero(whole), np.flatnonzero(~whole))
        x, y = x[whole], y[whole]
    if not len(x):
        return dots
    spans = _spans(x, y, window, columns, cuts)
    if spans is None:
        return dots
    height = window.top - window.bottom

    def level(values: Columns) -> Columns:
        if height > 0:
            return (window.top - values) * ((rows - 1) / height)
        return np.full(len(values), (rows - 1) / 2)

    joined = ~np.isin(spans.begin[1:], cuts)
    if len(x) > 3 and (usual := _usual_gap(x)):
        joined &= spans.left[1:] - spans.right[:-1] <= GAP * usual
    enter, leave = level(spans.enter), level(spans.leave)
    _fill(dots, spans.at, level(spans.most), level(spans.least), enter, leave, joined)
    return dots


class _Spans(NamedTuple):
    """The points of each column of dots that has any: all that is drawn of them."""

    at: NDArray[np.int64]
    begin: NDArray[np.int64]
    """Place of the first of them in the curve."""
    left: Columns
    right: Columns
    """x of the first and of the last."""
    most: Columns
    least: Columns
    enter: Columns
    leave: Columns
    """y of the first and of the last."""


def _spans(x: Numbers, y: Numbers, window: Window, columns: int, cuts: NDArray[np.int64]) -> _Spans | None:
    first, last = find(x, window.left), find(x, window.right, right=True)
    wide = window.right - window.left
    # As x doesn't fall, the first point of each column is found by halving, without a look at most of them.
    middles = np.arange(1, columns) - 0.5
    edges: Numbers = window.left + middles * (wide / max(columns - 1, 1))
    if x.dtype.kind == "i":
        edges = np.ceil(edges).astype(np.int64)
    bounds = np.concatenate(([first], np.clip(np.searchsorted(x, edges), first, last), [last]))
    at = np.flatnonzero(bounds[:-1] < bounds[1:])
    begin, end = bounds[:-1][at], bounds[1:][at] - 1
    inner = y[:last]
    most, least = (
        (np.maximum.reduceat(inner, begin), np.minimum.reduceat(inner, begin)) if len(at) else (y[:0], y[:0])
    )
    table = [at, begin, x[begin], x[end], most, least, y[begin], y[end]]
    parts = [[column] for column in (np.asarray(item, np.float64) for item in table)]
    for outside, inside, edge, cell, front in (
        (first - 1, first, window.left, 0, True),
        (last, last - 1, window.right, columns - 1, False),
    ):
        there = 0 <= outside < len(x) and 0 <= inside < len(x)
        if not there or x[inside] == x[outside] or max(outside, inside) in cuts:
            continue
        share = (edge - float(x[outside])) / (float(x[inside]) - float(x[outside]))
        value = float(y[outside]) + (float(y[inside]) - float(y[outside])) * share
        for part, item in zip(
            parts, (cell, max(outside, 0), edge, edge, value, value, value, value), strict=True
        ):
            part.insert(0 if front else len(part), np.array([float(item)]))
    whole = [np.concatenate(part) for part in parts]
    if not len(whole[0]):
        return None
    return _merged(_Spans(whole[0].astype(np.int64), whole[1].astype(np.int64), *whole[2:]))


def _merged(spans: _Spans) -> _Spans:
    """An edge that falls into a column with points of its own belongs to these."""
    starts = np.concatenate(([0], np.flatnonzero(np.diff(spans.at)) + 1))
    if len(starts) == len(spans.at):
        return spans
    ends = np.concatenate((starts[1:], [len(spans.at)])) - 1
    return _Spans(
        spans.at[starts],
        spans.begin[starts],
        spans.left[starts],
        spans.right[ends],
        np.maximum.reduceat(spans.most, starts),
        np.minimum.reduceat(spans.least, starts),
        spans.enter[starts],
        spans.leave[ends],
    )


def _usual_gap(x: Numbers) -> float:
    """How far points are usually apart; 0 where all are at one place."""
    some = np.arange(0, len(x) - 1, max(1, (len(x) - 1) // 250))
    apart = x[some + 1] - x[some]
    apart = apart[apart > 0]
    middle = len(apart) // 2
    return float(np.partition(apart, middle)[middle]) if len(apart) else 0.0


def _fill(
    dots: NDArray[np.bool_],
    at: NDArray[np.int64],
    high: Columns,
    low: Columns,
    enter: Columns,
    leave: Columns,
    joined: NDArray[np.bool_],
) -> None:
    """Set the dots from the highest to the lowest of each column, and those between neighbours."""
    rows, columns = dots.shape
    if len(at) > 1:
        gap = np.diff(at)
        # Columns without points of their own, between two that are joined: a straight line.
        between = np.flatnonzero((gap > 1) & joined)
        if len(between):
            counts = gap[between] - 1
            owner = np.repeat(between, counts)
            offset = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
            part = offset / gap[owner]
            line = leave[owner] + (enter[owner + 1] - leave[owner]) * part
            where = owner + 1
            at = np.insert(at, where, at[owner] + offset)
            high, low, enter, leave = (np.insert(column, where, line) for column in (high, low, enter, leave))
            joined = np.insert(joined, where, True)
        # Reach half-way to the neighbour, so that a steep curve has no holes.
        middle = (leave[:-1] + enter[1:]) / 2
        reach_low = np.where(joined, np.maximum(low[:-1], middle), low[:-1])
        reach_high = np.where(joined, np.minimum(high[:-1], middle), high[:-1])
        back_low = np.where(joined, np.maximum(low[1:], middle), low[1:])
        back_high = np.where(joined, np.minimum(high[1:], middle), high[1:])
        low, high = low.copy(), high.copy()
        low[:-1], high[:-1] = reach_low, reach_high
        low[1:], high[1:] = np.maximum(low[1:], back_low), np.minimum(high[1:], back_high)
    seen = (at >= 0) & (at < columns) & (low >= -0.5) & (high <= rows - 0.5)
    at = at[seen]
    top = np.clip(np.rint(high[seen]), 0, rows - 1).astype(np.int64)
    end = np.clip(np.rint(low[seen]), 0, rows - 1).astype(np.int64) + 1
    row = np.arange(rows)[:, None]
    dots[:, at] |= (row >= top) & (row < end)


def cells(dots: NDArray[np.bool_], marker: Marker) -> NDArray[np.uint8]:
    """The dots as one number a cell, (rows, columns of cells)."""
    grid = GRIDS[marker]
    height, width = dots.shape[0] // grid.down, dots.shape[1] // grid.across
    parts = dots.reshape(height, grid.down, width, grid.across).transpose(0, 2, 1, 3)
    flat = parts.reshape(height, width, grid.down * grid.across)
    return np.packbits(flat, axis=2, bitorder="little")[:, :, 0]
