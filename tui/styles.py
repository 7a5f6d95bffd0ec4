"""Names of styles, and what they are in 256 colours and without colour.

Series colours are those of Okabe and Ito (2008), told apart by colour-blind readers too, moved to the nearest
of the 256-colour cube, since SSH does not announce more. What is said by colour is said by a letter or a sign
as well.
"""

from tui.watched import Watched

SERIES = (74, 214, 35, 175, 166, 32, 227, 250)
"""Sky blue, orange, bluish green, reddish purple, vermilion, blue, yellow, grey."""
STATES = {
    "running": ("●", "good"),
    "preparing": ("◌", "good"),
    "slow": ("◐", "warn"),
    "waiting": ("…", "warn"),
    "queued": ("…", "warn"),
    "requeued": ("…", "warn"),
    "stopped": ("■", "warn"),
    "hung": ("◍", "bad"),
    "dead": ("✗", "bad"),
    "failed": ("✗", "bad"),
    "finished": ("✓", "done"),
    "quiet": ("·", "dim"),
    "empty": ("·", "dim"),
}
ASCII_SIGNS = {"●": "*", "◌": "o", "◐": "%", "…": "~", "■": "#", "◍": "!", "✗": "x", "✓": "+", "·": "."}


def series_style(run: Watched) -> str:
    """The colour of a run, the same on every screen."""
    return f"series{run.number % len(SERIES)}"


# Colour as Rich and Textual spell it, and attributes. A theme may replace the colours of the first group.
STYLES: dict[str, tuple[str | None, str]] = {
    "good": ("ansi_green", ""),
    "warn": ("ansi_yellow", ""),
    "bad": ("ansi_red", "bold"),
    "done": ("ansi_cyan", ""),
    "accent": ("ansi_cyan", "bold"),
    "dim": (None, "dim"),
    "axis": (None, "dim"),
    "raw": (None, "dim"),
    "lost": (None, "dim"),
    "bold": (None, "bold"),
    "title": (None, "bold"),
    "head": (None, "bold underline"),
    "at": (None, "reverse"),
    "tab": (None, "reverse bold"),
    "cursor-line": (None, "dim"),
    "reverse": (None, "reverse"),
    **{f"series{index}": (f"color({code})", "") for index, code in enumerate(SERIES)},
}
ATTRIBUTES = ("bold", "dim", "reverse", "underline")


def resolve(names: str) -> tuple[str | None, frozenset[str]]:
    """Colour and attributes of a style's names together."""
    colour: str | None = None
    attributes: set[str] = set()
    for name in names.split():
        one, more = STYLES.get(name, (None, ""))
        colour = one or colour
        attributes.update(more.split())
    return colour, frozenset(attributes)


_ANSI = {"ansi_green": 32, "ansi_yellow": 33, "ansi_red": 31, "ansi_cyan": 36}
_CODES = {"bold": 1, "dim": 2, "underline": 4, "reverse": 7}


def escape(names: str, *, colour: bool) -> str:
    """The escape sequence that begins a style on a terminal; empty for none."""
    chosen, attributes = resolve(names)
    codes = [str(_CODES[name]) for name in ATTRIBUTES if name in attributes]
    if colour and chosen:
        codes.append(str(_ANSI[chosen]) if chosen in _ANSI else f"38;5;{chosen[6:-1]}")
    return f"\x1b[{';'.join(codes)}m" if codes else ""
