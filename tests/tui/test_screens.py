"""Golden text of every screen. `TK_GOLDEN=write pytest tests/tui/test_screens.py` writes it anew."""

import os
from pathlib import Path

import pytest
from conftest import look

from tui.compose import compose, shown_keys
from tui.lines import Line, plain, width
from tui.plot.raster import Marker
from tui.state import PAGES, Desk, Page
from tui.styles import escape

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (120, 40), (200, 50))
HOST = {
    "cpu/utilization": 0.43,
    "memory/used_gib": 12.1,
    "memory/total_gib": 64.0,
    "disk/free_gib": 812.0,
    "gpu0/utilization": 0.97,
    "gpu0/memory_gib": 61.0,
    "gpu0/memory_total_gib": 80.0,
}


def drawn(desk: Desk, page: Page, columns: int, rows: int) -> list[Line]:
    desk.page = page
    desk.local.latest = HOST
    desk.at = "wide/pretrain" if page == "hardware" else "gpt_small/pretrain"
    return compose(desk, columns, rows, shown_keys(desk, {}))


def coloured(lines: list[Line]) -> str:
    """Lines with their escape sequences, these made visible."""
    rows = ["".join(f"{escape(s, colour=True)}{t}\x1b[0m" if s else t for t, s in line) for line in lines]
    return "\n".join(row.replace("\x1b", "␛").rstrip() for row in rows)


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("TK_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert path.read_text() == text + "\n"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_screen_is_as_it_was(desk: Desk, size: tuple[int, int]) -> None:
    for page in PAGES:
        lines = drawn(desk, page, *size)
        assert [width(line) for line in lines] == [size[0]] * size[1], page
        check(f"{page}-{size[0]}x{size[1]}-no-color.txt", plain(lines))
        check(f"{page}-{size[0]}x{size[1]}-256.txt", coloured(lines))


def test_without_colour_nothing_but_attributes_is_sent(desk: Desk) -> None:
    for page in PAGES:
        for line in drawn(desk, page, 120, 40):
            for _, style in line:
                assert "38;5" not in escape(style, colour=False)
                assert not any(code in escape(style, colour=False) for code in ("31m", "32m", "33m", "36m"))


@pytest.mark.parametrize("marker", ["braille", "block", "ascii"])
def test_any_size_is_filled_exactly(live: object, marker: Marker) -> None:
    desk = look(Path("runs"), marker)
    for columns, rows in ((24, 6), (33, 9), (80, 24), (81, 11), (132, 43), (300, 20)):
        for page in PAGES:
            for alone in (False, True):
                desk.alone = alone
                lines = drawn(desk, page, columns, rows)
                assert [width(line) for line in lines] == [columns] * rows, (page, columns, rows)


def test_ascii_is_ascii(live: object) -> None:
    desk = look(Path("runs"), "ascii")
    for page in ("runs", "charts", "hardware"):
        drawn_text = plain(drawn(desk, page, 100, 30))
        assert {character for character in drawn_text if not character.isascii()} <= {"…", "°"}


def test_text_from_files_can_not_drive_the_terminal(desk: Desk) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\u202e[bold]x[/]"
    run = desk.library.runs["gpt_small/pretrain"]
    for name in ("x\x1b[31m", "val/\x07loss", "[red]markup[/red]"):
        run.series[name] = run.series["train/loss"]
    run.events.append({"kind": "created", "spec": {"name": evil, "data": {evil: evil}}, "time": 0})
    run.__dict__.pop("spec", None)
    run.health = run.health._replace(reason=evil)
    desk.tag_filter = ""
    for page in PAGES:
        for size in SIZES:
            text = plain(drawn(desk, page, *size))
            bad = [character for character in text if character < " " and character != "\n"]
            assert not bad, page
            assert "\u202e" not in text
            assert "\x9b" not in text
    assert r"\x1b]0;owned\x07" in plain(drawn(desk, "log", 200, 50))
