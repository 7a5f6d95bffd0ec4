"""Charts: a grid of all metrics by group, and one of them on the whole screen."""

import math

from tui.filters import BadFilter, match_names
from tui.lines import Line, beside, fill, line, safe
from tui.pages.curves import chart_lines, follow
from tui.state import Desk

LEAST_COLUMNS, LEAST_ROWS = 38, 9
"""Of a chart in the grid."""
FIRST = ("train", "val", "eval", "perf", "memory")
"""Groups in this order; the others follow by name."""


def tags_of(desk: Desk) -> list[str]:
    """The metrics of the runs that are drawn and the filter lets through: by group, pinned ones first."""
    known: dict[str, None] = {}
    for run in desk.overlaid()[::-1]:
        known.update(dict.fromkeys(run.tags))
    tags = sorted(known, key=_order)
    try:
        tags = match_names(desk.tag_filter, tags)
    except BadFilter as error:
        desk.note = str(error)
    return sorted(tags, key=lambda tag: tag not in desk.pinned_tags)


def draw_charts(desk: Desk, columns: int, rows: int) -> list[Line]:
    runs = desk.overlaid()
    tags = tags_of(desk)
    if not tags:
        what = f"matches {desk.tag_filter!r}" if desk.tag_filter else "has been written"
        return fill([(), line(f"  No metric {what} yet.")], rows, columns)
    if desk.tag not in tags:
        desk.tag = tags[0]
    follow(desk)
    status = line((_status(desk, len(tags)), "dim"))
    if desk.alone:
        return [*chart_lines(desk, desk.tag, runs, (columns, rows - 1)), status]
    across, down = grid(columns, rows - 1)
    each = across * down
    first = tags.index(desk.tag) // each * each
    height = (rows - 1) // down
    lines: list[Line] = []
    wide = (columns - (across - 1)) // across
    for begin in range(first, min(first + each, len(tags)), across):
        blocks = []
        for tag in tags[begin : min(begin + across, first + each)]:
            title = ("^ " if tag in desk.pinned_tags else "") + safe(tag)
            drawn = chart_lines(desk, tag, runs, (wide, height), title=title, at=tag == desk.tag)
            blocks.append((drawn, wide))
        lines += beside(blocks, height)
    return [*fill(lines, rows - 1, columns), status]


def grid(columns: int, rows: int) -> tuple[int, int]:
    """How many charts side by side, and how many below each other."""
    return max(1, columns // LEAST_COLUMNS if columns < 160 else columns // 60), max(1, rows // LEAST_ROWS)


def _status(desk: Desk, count: int) -> str:
    place = tags_of(desk).index(desk.tag) + 1
    parts = [f" {place}/{count} metrics", f"smoothing {desk.smoothing:g}", f"x {desk.x_axis}"]
    parts += ["log y"] * desk.log + ["outliers cut"] * desk.outliers
    if desk.x_range:
        parts.append("zoomed" + (", following" if desk.follow else ""))
    if desk.tag_filter:
        parts.append(f"filter {desk.tag_filter}")
    return "  ".join(parts)


def _order(tag: str) -> tuple[float, str]:
    group = tag.partition("/")[0]
    return (FIRST.index(group) if group in FIRST else math.inf, tag)
