"""Text as the dashboard draws it: lines of styled spans, cut and padded by the cells they take."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from toolkit.store.text import sanitize

_WIDER = re.compile("[^\x00-\u02ff\u2010-\u25ff\u2800-\u28ff]")
"""What may take another number of cells than one."""


_PLAINER = {
    "…": "~",
    "·": ".",
    "°": " ",
    "←": "<",
    "→": ">",
    "×": "x",
    "–": "-",
    "—": "-",
    "│": "|",
    "─": "-",
}
"""What stands for a character where the terminal has ASCII alone. Others become `?`."""


class Span(NamedTuple):
    """Text in a style: names of `styles.STYLES`, parted by spaces; the last wins."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def line(*parts: str | Span | tuple[str, str]) -> Line:
    """A line of spans; a plain string has no style."""
    return tuple(Span(part) if isinstance(part, str) else Span(*part) for part in parts if part)


def width(text: str | Line) -> int:
    """Terminal cells: two for wide characters."""
    if isinstance(text, str):
        return len(text) if text.isascii() else _width(text)
    return sum([len(part) if part.isascii() else _width(part) for part, _ in text])


@lru_cache(maxsize=8192)
def _width(text: str) -> int:
    """Kept, as most of a screen is as it was a second ago."""
    return len(text) if not _WIDER.search(text) else cell_len(text)


def clip(text: str, cells: int) -> str:
    """The text in at most so many cells, with `…` where something was cut."""
    if width(text) <= cells:
        return text
    return set_cell_size(text, cells - 1) + "…" if cells > 0 else ""


def clip_left(text: str, cells: int) -> str:
    """Likewise, cut at its beginning: the end of a path tells more."""
    if width(text) <= cells:
        return text
    while text and width(text) > cells - 1:
        text = text[1:]
    return "…" + text if cells > 0 else ""


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """The text in exactly so many cells; aligned to the right for numbers."""
    text = clip(text, cells)
    blank = " " * (cells - width(text))
    return blank + text if right else text + blank


def fit(spans: Line, cells: int) -> Line:
    """The line in exactly so many cells."""
    left = cells - width(spans)
    if left >= 0:
        return (*spans, Span(" " * left)) if left else spans
    kept: list[Span] = []
    left = cells
    for span in spans:
        wide = width(span.text)
        if wide > left:
            if left > 0:
                kept.append(Span(clip(span.text, left), span.style))
            return tuple(kept)
        kept.append(span)
        left -= wide
    return tuple(kept)


def styled(spans: Line, style: str) -> Line:
    """The line in one style instead of those it has."""
    return (Span("".join(span.text for span in spans), style),)


def fill(lines: Sequence[Line], height: int, cells: int) -> list[Line]:
    """Exactly `height` lines of exactly `cells` cells."""
    return [fit(lines[row] if row < len(lines) else (), cells) for row in range(height)]


def beside(blocks: Iterable[tuple[Sequence[Line], int]], height: int, gap: str = " ") -> list[Line]:
    """Blocks of lines, each with its width, from left to right."""
    columns = [fill(lines, height, cells) for lines, cells in blocks]
    rows: list[Line] = []
    for row in range(height):
        parts: list[Span] = []
        for index, column in enumerate(columns):
            if index and gap:
                parts.append(Span(gap, "dim"))
            parts += column[row]
        rows.append(tuple(parts))
    return rows


def safe(text: str) -> str:
    """Text from a file, fit to be shown: what could drive the terminal is written as an escape."""
    return sanitize(text)


def spelled_out(spans: Line) -> Line:
    """The line in ASCII, each character in as many cells as before."""
    return tuple(span if span.text.isascii() else Span(_ascii(span.text), span.style) for span in spans)


@lru_cache(maxsize=1024)
def _ascii(text: str) -> str:
    return "".join(
        character if character.isascii() else _PLAINER.get(character, "?") * cell_len(character)
        for character in text
    )


def plain(lines: Iterable[Line]) -> str:
    """The lines without style, as a file or a pipe gets them."""
    return "\n".join("".join(span.text for span in spans).rstrip() for spans in lines)
