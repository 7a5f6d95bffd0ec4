"""Golden text of every screen. `TK_GOLDEN=write pytest tests/tui/test_screens.py` writes it anew."""

import os
from collections import deque
from pathlib import Path

import pytest
from conftest import look
from worlds import WALL, LiveRun, finished_run

from toolkit.plan.devices import GPUProcess
from toolkit.store.events import append_event
from toolkit.store.health import Health
from tui.compose import compose, shown_keys
from tui.filters import RunFilter
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
    run = desk.library.runs["gpt_small/pretrain"]
    run.name = "gpt_small/a_name_that_is_cut_\u65e5\u672c"
    with run.folder.console.open("a") as log:  # type: ignore[union-attr]
        log.write("caf\u00e9 \u65e5\u672c \U0001f600\n")
    for page in PAGES:
        for size in SIZES:
            lines = drawn(desk, page, *size)
            assert plain(lines).isascii(), page
            assert {width(line) for line in lines} == {size[0]}
    assert "caf? ???? ??" in plain(drawn(desk, "log", 80, 24))


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


def test_every_condition_is_counted_even_in_a_narrow_terminal(desk: Desk) -> None:
    runs = list(desk.library.runs.values())
    for run, condition in zip(runs, ("running", "stopped", "finished", "hung", "dead"), strict=True):
        run.health = Health(condition)  # type: ignore[arg-type]
    assert "1 running 1 stopped 1 hung 1 dead 1 finished" in plain(drawn(desk, "runs", 120, 40)[:1])
    assert "1● 1■ 1◍ 1✗ 1✓" in plain(drawn(desk, "runs", 80, 24)[:1])
    desk.slow_link = desk.readonly = True
    assert "slow link readonly" in plain(drawn(desk, "runs", 80, 24)[:1])


def test_a_filter_by_what_no_run_has_says_so(desk: Desk) -> None:
    for text, said in (("val/loss<0", False), ("val/los<9", True)):
        desk.run_filter = RunFilter(text)
        shown = plain(drawn(desk, "runs", 80, 24))
        assert f"No run passes the filter '{text}'" in shown
        assert ("No run has a value for 'val/los'" in shown) == said


def test_what_changes_the_result_is_marked_stage_by_stage(live: object) -> None:
    for name, seed, epochs in (("one", 1, 1), ("two", 1, 2)):
        targets = {"chat": {"duration": f"{epochs} epochs", "on_bad_row": "stop" if epochs > 1 else "skip"}}
        for stage in ("pretrain", "chat"):
            run = finished_run(Path("runs"), name, 0, steps=5, stage=stage)
            append_event(run, "created", spec={"name": name, "seed": seed, "finetune": targets})
    desk = look(Path("runs"))

    def differing(*names: str) -> list[str]:
        desk.selected = set(names)
        rows = plain(drawn(desk, "compare", 120, 40)[2:]).split("METRICS")[0]
        return [row[:34].strip() for row in rows.splitlines()[1:] if row]

    assert differing("one/chat", "two/chat") == [
        "* finetune.chat.duration",
        "finetune.chat.on_bad_row",
        "name",
    ]
    assert "* finetune.chat.duration" not in differing("one/pretrain", "two/pretrain")
    assert differing("one/pretrain", "one/chat") == ["* stage", "* target.duration", "target.on_bad_row"]


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_eight_gpus_have_a_line_each_where_more_does_not_fit(tmp_path: Path, size: tuple[int, int]) -> None:
    run = LiveRun(tmp_path, "big", 0)
    run.advance(50, gpus=8)
    desk = look(tmp_path)
    desk.local._history = {
        name: deque([(WALL, value)])
        for gpu in range(8)
        for name, value in (
            (f"gpu{gpu}/utilization", 0.5),
            (f"gpu{gpu}/power_watts", 300.0),
            (f"gpu{gpu}/throttle", 8.0),
        )
    }
    desk.local.processes = [GPUProcess(gpu, 100 + gpu, "python", 2**30) for gpu in range(8)]
    desk.page = "hardware"
    seen = ""
    for _ in range(3):
        text = plain(compose(desk, *size))
        seen += text
        if "more lines" not in text:
            break
        desk.hardware_top += size[1] - 6
    run.close()
    assert seen.count("50 %") >= 8
    assert seen.count("slowed") >= 8
    assert f"gpu7  {107:>8}" in seen
    assert "this machine" in seen
    assert "as big/pretrain saw it" in seen
