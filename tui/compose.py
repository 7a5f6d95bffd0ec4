"""A whole screenful: the frame and the page within it."""

from collections.abc import Callable

from tui.keys import KEYS, spelled
from tui.lines import Line, fill, spelled_out
from tui.pages.frame import ROWS, footer, header
from tui.state import Desk, Page

Draw = Callable[[Desk, int, int], list[Line]]
LEAST = 24, 6
"""Columns and rows below which nothing sensible can be shown."""


def compose(desk: Desk, columns: int, rows: int, keys: list[tuple[str, str]] | None = None) -> list[Line]:
    """The screen as `rows` lines of `columns` cells. `keys` are those shown below; None for no such line."""
    if columns < LEAST[0] or rows < LEAST[1]:
        return fill([], rows, columns)
    height = rows - ROWS + (keys is None)
    page = _drawer(desk.page)(desk, columns, height)[:height]
    lines = [header(desk, columns), *page, *([()] * (height - len(page)))]
    if keys is not None:
        lines.append(footer(desk, keys, columns))
    lines = fill(lines, rows, columns)
    # A character that the output can't encode would be written as an escape of several cells.
    return [spelled_out(item) for item in lines] if desk.marker == "ascii" else lines


def shown_keys(desk: Desk, keymap: dict[str, str]) -> list[tuple[str, str]]:
    """The keys for the last line: as the user mapped them, those that work here."""
    return [
        (spelled(keymap.get(key.id, key.keys).split(",")[0]), key.words)
        for key in KEYS
        if key.shown and desk.page in key.pages and not (desk.readonly and key.writes)
    ]


def _drawer(page: Page) -> Draw:
    """Pages are loaded when they are first seen."""
    match page:
        case "runs":
            from tui.pages.runs import draw_runs as draw
        case "charts":
            from tui.pages.charts import draw_charts as draw
        case "hardware":
            from tui.pages.hardware import draw_hardware as draw
        case "lineage":
            from tui.pages.lineage import draw_lineage as draw
        case "compare":
            from tui.pages.compare import draw_compare as draw
        case "log":
            from tui.pages.log import draw_log as draw
    return draw
