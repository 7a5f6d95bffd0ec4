"""Tables whose columns take what room there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tui.lines import Line, Span, pad, styled

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column: its title, its cells, and what makes way first when there is little room."""

    title: str
    cells: int
    cell: Callable[[T], Span]
    rank: int
    """Columns of a lower rank are given room first."""
    right: bool = False
    grows: int = 0
    """Cells that it may take more, if there is room."""


def choose(columns: Sequence[Column[T]], cells: int) -> list[tuple[Column[T], int]]:
    """The columns that fit, in their order, and how wide each is."""
    left = cells
    kept: set[int] = set()
    for index, column in sorted(enumerate(columns), key=lambda pair: pair[1].rank):
        need = column.cells + (1 if kept else 0)
        if need <= left:
            kept.add(index)
            left -= need
    widths = {index: columns[index].cells for index in kept}
    for index in sorted(kept, key=lambda index: columns[index].rank):
        more = min(columns[index].grows, left)
        widths[index] += more
        left -= more
    return [(columns[index], widths[index]) for index in sorted(kept)]


def head(chosen: Sequence[tuple[Column[T], int]], mark: str = "") -> Line:
    """The titles; that of the column the rows are sorted by is `mark`ed."""
    spans: list[Span] = []
    for index, (column, cells) in enumerate(chosen):
        if index:
            spans.append(Span(" "))
        style = "accent" if mark and column.title == mark else "dim"
        spans.append(Span(pad(column.title, cells, right=column.right), style))
    return tuple(spans)


def row(chosen: Sequence[tuple[Column[T], int]], item: T, *, at: bool = False) -> Line:
    """The cells of an item; the one under the cursor stands out."""
    spans: list[Span] = []
    for index, (column, cells) in enumerate(chosen):
        if index:
            spans.append(Span(" "))
        text, style = column.cell(item)
        spans.append(Span(pad(text, cells, right=column.right), style))
    line = tuple(spans)
    return styled(line, "at") if at else line


def scrolled(top: int, at: int, height: int, count: int) -> int:
    """The first row to show so that `at` is seen, moved from `top` no more than needed."""
    if at < top:
        top = at
    elif at >= top + height:
        top = at - height + 1
    return max(0, min(top, count - height))
