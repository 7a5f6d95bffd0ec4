"""What surrounds every screen: the tabs above, a note and the keys below."""

from collections import Counter
from collections.abc import Mapping

from tui.lines import Line, Span, clip, clip_left, fit, line, safe, width
from tui.state import PAGES, TITLES, Desk, Page
from tui.styles import ASCII_SIGNS, STATES
from tui.watched import Watched

URGENCY = ("dim", "done", "good", "warn", "bad")
"""Styles of what the header counts, those that give way first in front."""
ROWS = 2
"""Lines that the frame takes."""


def sign(desk: Desk, condition: str) -> str:
    """The character of a condition, where the terminal has it."""
    character = STATES.get(condition, ("?", ""))[0]
    return ASCII_SIGNS[character] if desk.marker == "ascii" else character


def state_span(desk: Desk, run: Watched, cells: int = 0) -> Span:
    """A run's condition as a sign and a word."""
    condition = run.health.condition
    text = f"{sign(desk, condition)} {condition}"
    return Span(clip(text, cells) if cells else text, STATES.get(condition, ("", ""))[1])


def header(desk: Desk, columns: int) -> Line:
    """The screens, where the files are, and how many runs are in which condition."""
    tabs: list[Span] = []
    for index, page in enumerate(PAGES, 1):
        style = "tab" if page == desk.page else ""
        tabs += [Span(f" {index} {TITLES[page]} ", style)]
    counts: Counter[str] = Counter(run.health.condition for run in list(desk.library.runs.values()))
    marks = [Span(" slow link", "warn")] * desk.slow_link + [Span(" readonly", "dim")] * desk.readonly
    left = columns - width(tuple(tabs))
    told = _told(desk, counts, short=False)
    if width((*marks, *told)) > left:
        told = _told(desk, counts, short=True)
    while told and width((*marks, *told)) > left:
        # What is wrong is told longest.
        told.remove(min(reversed(told), key=lambda span: URGENCY.index(span.style)))
    right = [*marks, *told]
    while right and width(tuple(right)) > left:
        right.pop()
    room = left - width(tuple(right))
    place = f" {clip_left(safe(str(desk.library.root)), room - 2)}" if room > 8 else ""
    return fit((*tabs, Span(place, "dim"), Span(" " * (room - width(place))), *right), columns)


def _told(desk: Desk, counts: Mapping[str, int], *, short: bool) -> list[Span]:
    """How many runs are in which condition; in short by their signs, as the table has them."""
    told: dict[tuple[str, str], int] = {}
    for condition, (_, style) in STATES.items():
        word = sign(desk, condition) if short else f" {condition}"
        if counts[condition]:
            told[word, style] = told.get((word, style), 0) + counts[condition]
    return [Span(f" {count}{word}", style) for (word, style), count in told.items()]


def tab_at(column: int) -> Page | None:
    """The screen whose tab is at a column of the header."""
    begin = 0
    for index, page in enumerate(PAGES, 1):
        begin += len(f" {index} {TITLES[page]} ")
        if column < begin:
            return page
    return None


def footer(desk: Desk, keys: list[tuple[str, str]], columns: int) -> Line:
    """A note if there is one, else the keys that work here, as many as there is room for."""
    if desk.note:
        return fit(line((f" {safe(desk.note)}", "accent")), columns)
    spans: list[Span] = []
    # The way to all the others is always there.
    *keys, last = keys
    end = (Span(f" {last[0]}", "accent"), Span(f" {last[1]} ", "dim"))
    left = columns - width(end)
    for key, words in keys:
        text = f" {words} "
        if len(key) + 1 + len(text) > left:
            break
        spans += [Span(f" {key}", "accent"), Span(text, "dim")]
        left -= len(key) + 1 + len(text)
    return fit((*spans, Span(" " * left), *end), columns)
