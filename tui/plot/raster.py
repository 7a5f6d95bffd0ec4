"""Curves as dots in cells: per column of dots the least and the greatest value, so that no spike is lost."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Marker = Literal["braille", "block", "ascii"]
Columns = NDArray[np.float64]
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


def rasterise(
    x: NDArray[np.float64], y: NDArray[np.float64], window: Window, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The dots of a curve, (rows of dots, columns of dots), the first row at the top.

    Args:
        x: Not falling, (n,).
        y: Values, (n,); where they are not finite the curve is interrupted.
        size: Rows and columns of dots.
    """
    rows, columns = size
    dots = np.zeros((rows, columns), bool)
    # The points just outside, too, so that the curve goes on to the edge.
    first = max(int(np.searchsorted(x, window.left)) - 1, 0)
    last = int(np.searchsorted(x, window.right, "right")) + 1
    x, y = x[first:last], y[first:last]
    whole = np.isfinite(y)
    if not whole.any():
        return dots
    broken = None if whole.all() else np.flatnonzero(~whole)
    scale = (columns - 1) / (window.right - window.left) if window.right > window.left else 0.0
    if broken is not None:
        # Where the curve is interrupted, as a place between points that are left.
        cuts = np.unique(np.searchsorted(np.flatnonzero(whole), broken))
        x, y = x[whole], y[whole]
    else:
        cuts = np.empty(0, np.int64)
    x, y = _cut_to(window, x, y, cuts)
    place = np.rint((x - window.left) * scale)
    pixel = place.astype(np.int64)
    height = window.top - window.bottom
    level = (window.top - y) * ((rows - 1) / height) if height > 0 else np.full(len(y), (rows - 1) / 2)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(pixel)) + 1))
    at = pixel[starts]
    high = np.minimum.reduceat(level, starts)
    low = np.maximum.reduceat(level, starts)
    enter = level[starts]
    leave = level[np.concatenate((starts[1:], [len(level)])) - 1]
    joined = _joined(x, starts, cuts)
    _fill(dots, at, high, low, enter, leave, joined)
    return dots


def _cut_to(
    window: Window, x: NDArray[np.float64], y: NDArray[np.float64], cuts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve with its first and last point, where these lie outside, moved along it to the edge."""
    x, y = x.copy(), y.copy()
    for end, inner, edge, cut in ((0, 1, window.left, 1), (-1, -2, window.right, len(x) - 1)):
        outside = x[end] < edge if end == 0 else x[end] > edge
        if len(x) > 1 and outside and cut not in cuts and x[inner] != x[end]:
            y[end] += (y[inner] - y[end]) * (edge - x[end]) / (x[inner] - x[end])
            x[end] = edge
    return x, y


def _joined(x: NDArray[np.float64], starts: NDArray[np.int64], cuts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each column but the last is joined to the next: not over an interruption or a wide hole."""
    joined = ~np.isin(starts[1:], cuts)
    if len(x) > 3:
        apart = np.diff(x)
        some = apart[:: max(1, len(apart) // 1000)]
        if usual := float(np.median(some[some > 0])) if (some > 0).any() else 0.0:
            joined &= apart[starts[1:] - 1] <= GAP * usual
    return joined


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
