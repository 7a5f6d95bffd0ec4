"""Lines of text as an SVG picture, for pages that tell of the dashboard."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from tui.lines import Line, width
from tui.styles import resolve

CELL, ROW, EDGE = 8, 17, 10
FOREGROUND, BACKGROUND, FAINT = "#d0d0d0", "#16181d", "#7f848e"
NAMED = {"ansi_green": "#8ec07c", "ansi_yellow": "#e5c07b", "ansi_red": "#ef6b73", "ansi_cyan": "#7cc5d6"}
_LEVELS = (0, 95, 135, 175, 215, 255)


def picture(lines: Sequence[Line]) -> str:
    """The screen as SVG. Each span is given its width, so that any monospaced font fits."""
    columns = max(width(spans) for spans in lines)
    wide, high = columns * CELL + 2 * EDGE, len(lines) * ROW + 2 * EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}">',
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>',
        f'<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="13" '
        f'fill="{FOREGROUND}" xml:space="preserve">',
    ]
    for row, spans in enumerate(lines):
        at = 0
        for text, style in spans:
            cells = width(text)
            if text.strip() or "reverse" in resolve(style)[1]:
                parts.append(_span(text, style, at, row, cells))
            at += cells
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _span(text: str, style: str, at: int, row: int, cells: int) -> str:
    colour, attributes = resolve(style)
    fill = _hex(colour) if colour else FAINT if "dim" in attributes else None
    x, y = EDGE + at * CELL, EDGE + row * ROW
    box = ""
    if "reverse" in attributes:
        box = f'<rect x="{x}" y="{y}" width="{cells * CELL}" height="{ROW}" fill="{fill or FOREGROUND}"/>'
        fill = BACKGROUND
    more = f' fill="{fill}"' if fill else ""
    more += ' font-weight="bold"' if "bold" in attributes else ""
    more += ' opacity="0.45"' if colour and "dim" in attributes else ""
    if not text.strip():
        return box
    lead = len(text) - len(text.lstrip(" "))
    shown = text.strip(" ")
    x += lead * CELL
    length = f' textLength="{width(shown) * CELL}" lengthAdjust="spacingAndGlyphs"' if len(shown) > 1 else ""
    return f'{box}<text x="{x}" y="{y + 13}"{length}{more}>{escape(shown)}</text>'


def _hex(colour: str) -> str:
    if colour in NAMED:
        return NAMED[colour]
    code = int(colour.removeprefix("color(").removesuffix(")"))
    if code >= 232:
        level = 8 + 10 * (code - 232)
        return f"#{level:02x}{level:02x}{level:02x}"
    code -= 16
    return "#" + "".join(f"{_LEVELS[part]:02x}" for part in (code // 36, code // 6 % 6, code % 6))
