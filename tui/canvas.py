"""The widget that shows lines, and sends to the terminal only the cells that changed."""

import re
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.lines import Line, width
from tui.styles import resolve

APART = 8
"""Changes of a line that lie so far apart are sent each for itself."""
_ODD = re.compile("[^\x20-\u02ff\u2010-\u28ff]")
"""What may be wide, or join the character before."""
_styles: dict[str, Style] = {}


class Canvas(Widget):
    """Shows lines of text. They must be as wide as the widget."""

    DEFAULT_CSS = "Canvas { width: 1fr; height: 1fr; }"
    can_focus = False

    class Pressed(Message):
        """A cell was clicked."""

        def __init__(self, column: int, row: int, *, twice: bool) -> None:
            super().__init__()
            self.column, self.row, self.twice = column, row, twice

    class Turned(Message):
        """The mouse wheel was turned by so many notches, downwards if positive."""

        def __init__(self, notches: int) -> None:
            super().__init__()
            self.notches = notches

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self._strips: dict[int, Strip] = {}

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines; what is as before is not sent again."""
        before, self.lines = self.lines, list(lines)
        if len(before) != len(self.lines):
            self._strips.clear()
            self.refresh()
            return
        regions: list[Region] = []
        for row, (old, new) in enumerate(zip(before, self.lines, strict=True)):
            if old != new:
                self._strips.pop(row, None)
                regions += [Region(begin, row, end - begin, 1) for begin, end in changes(old, new)]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        strip = self._strips.get(y)
        if strip is None:
            spans = self.lines[y] if y < len(self.lines) else ()
            # Lines are as wide as the widget, which spares Textual to measure them.
            known = self.size.width if spans else 0
            strip = Strip([Segment(span.text, _style(span.style)) for span in spans], known)
            strip = strip.adjust_cell_length(self.size.width, _style(""))
            if not self.app.native_ansi_color:  # else the terminal's own colours need no bytes
                strip = strip.apply_style(self.rich_style)
            self._strips[y] = strip
        return strip

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        self._strips.clear()

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Pressed(event.x, event.y, twice=event.chain > 1))

    def on_mouse_scroll_down(self) -> None:
        self.post_message(self.Turned(1))

    def on_mouse_scroll_up(self) -> None:
        self.post_message(self.Turned(-1))


def changes(old: Line, new: Line) -> list[tuple[int, int]]:
    """From which cell to which two lines differ."""
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    tail = 0
    while tail < min(len(old), len(new)) - same and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    begin = _width(new[:same])
    before, after = _cells(old[same : len(old) - tail]), _cells(new[same : len(new) - tail])
    if begin is None or before is None or after is None or len(before) != len(after):
        return [(0, sum(len(span.text) for span in new) * 2)]
    found: list[tuple[int, int]] = []
    for at, (one, other) in enumerate(zip(before, after, strict=True), begin):
        if one == other:
            continue
        if found and at - found[-1][1] < APART:
            found[-1] = found[-1][0], at + 1
        else:
            found.append((at, at + 1))
    return found


def _width(spans: Line) -> int | None:
    """The number of cells; None where a character may take two."""
    return None if any(_odd(span.text) for span in spans) else sum([len(span.text) for span in spans])


def _cells(spans: Line) -> list[tuple[str, str]] | None:
    """Character and style of each cell; None where a character may take two."""
    cells: list[tuple[str, str]] = []
    for text, style in spans:
        if _odd(text):
            return None
        cells += [(character, style) for character in text]
    return cells


def _odd(text: str) -> bool:
    return not text.isascii() and (bool(_ODD.search(text)) or width(text) != len(text))


def _style(names: str) -> Style:
    if names not in _styles:
        colour, attributes = resolve(names)
        _styles[names] = Style(
            color=colour.removeprefix("ansi_") if colour else None,
            bold="bold" in attributes,
            dim="dim" in attributes,
            reverse="reverse" in attributes,
            underline="underline" in attributes,
        )
    return _styles[names]
