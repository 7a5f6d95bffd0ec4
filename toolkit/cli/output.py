"""Plain text for terminals: tables of 80 columns, little colour, and JSON."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from toolkit.store.text import sanitize

WIDTH = 80
"""Columns that every terminal has."""
RED, GREEN, YELLOW, CYAN, BOLD, DIM = 31, 32, 33, 36, 1, 2
STATES = {
    "finished": GREEN,
    "running": CYAN,
    "preparing": CYAN,
    "slow": YELLOW,
    "waiting": YELLOW,
    "stopped": YELLOW,
    "queued": YELLOW,
    "requeued": YELLOW,
    "hung": RED,
    "failed": RED,
    "dead": RED,
    "unreadable": RED,
}


def paint(text: str, code: int) -> str:
    """The text in colour where a terminal shows it and nobody asked for none (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """Print text that may come from a file: its control characters are shown, not obeyed."""
    print(sanitize(text, multiline=True))


def say_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Labels and values, the values in one column."""
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        print(f"{label:<{width}}  {sanitize(value)}".rstrip())


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Columns as wide as they need be; those in `right` are numbers, aligned to the right.

    A cell that names a state of a run is painted so.
    """
    lines = [[sanitize(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    print(paint(_line(header, widths, right), DIM))
    for line in lines:
        text = _line(line, widths, right)
        state = next((cell for cell in line if cell in STATES), None)
        print(text if state is None else text.replace(state, paint(state, STATES[state])))


def say_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """JSON in ASCII, so that no character drives the terminal; numbers that JSON lacks become null."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


@contextmanager
def results_apart() -> Iterator[None]:
    """Have everything that is printed meanwhile, by child processes too, go to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def number(value: float | None) -> str:
    """A metric or a count in few figures; `-` where there is none."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:.3e}"


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    aligned: Iterator[str] = (
        cell.rjust(width) if index in right else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(aligned).rstrip()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
