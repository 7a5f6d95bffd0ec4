"""Every key, pressed in the app: what it does to what is shown."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from conftest import look
from textual.pilot import Pilot
from worlds import LiveRun

from toolkit.store.requests import pending
from tui.app import DashApp
from tui.dialogs import Ask, Help, Sure
from tui.keys import KEYS
from tui.lines import plain
from tui.state import PAGES, WEIGHTS, X_AXES, Desk

Story = Callable[[DashApp, Pilot[int], Desk], Awaitable[None]]


def tell(
    desk: Desk, story: Story, size: tuple[int, int] = (120, 40), keymap: dict[str, str] | None = None
) -> None:
    """Run the app on the desk, without a terminal, through a story."""

    async def play() -> None:
        app = DashApp(desk, keymap)
        async with app.run_test(size=size) as pilot:
            await until(pilot, app.watcher.done_first.is_set)
            await pilot.pause()
            await story(app, pilot, desk)

    asyncio.run(play())


async def until(pilot: Pilot[int], holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        await pilot.pause(0.05)


def test_the_widget_shows_what_was_composed(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        for key in "123456":
            await pilot.press(key)
            await pilot.pause()
            strips = [app.canvas.render_line(y).text.rstrip() for y in range(40)]
            assert "\n".join(strips) == plain(app.canvas.lines)
            assert desk.page == PAGES[int(key) - 1]

    tell(desk, story)


def test_keys_that_move(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        names = [run.name for run in desk.runs()]
        await pilot.press("down", "j", "k")
        assert desk.at == names[1]
        await pilot.press("end")
        assert desk.at == names[-1]
        await pilot.press("up", "home", "G", "g", "pagedown", "pageup")
        assert desk.at == names[0]
        await pilot.press("right_square_bracket", "right_square_bracket", "left_square_bracket")
        assert desk.at == names[1]
        await pilot.press("tab")
        assert desk.page == "charts"
        await pilot.press("shift+tab", "shift+tab")
        assert desk.page == "log"
        await pilot.press("tab")
        assert desk.samples
        await pilot.press("enter")
        assert not desk.samples
        await pilot.press("escape")
        assert desk.page == "runs"
        await pilot.press("enter")
        assert desk.page == "charts"
        first = desk.tag
        await pilot.press("right")
        assert desk.tag != first
        await pilot.press("left")
        assert desk.tag == first
        await pilot.press("enter")
        assert desk.alone
        await pilot.press("down")
        assert desk.tag != first
        await pilot.press("escape")
        assert not desk.alone
        await pilot.press("4", "down", "down")
        assert desk.lineage.at == 2
        await pilot.press("5", "down", "up")

    tell(desk, story)


def test_keys_that_choose(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        first = desk.runs()[0].name
        await pilot.press("space")
        assert desk.selected == {first}
        await pilot.press("a")
        assert desk.selected == {run.name for run in desk.runs()}
        await pilot.press("a")
        assert not desk.selected
        await pilot.press("end", "p")
        assert desk.runs()[0].name == "wide/pretrain"
        await pilot.press("d")
        assert desk.page == "compare"
        await pilot.press("2", "p")
        assert desk.pinned_tags == {desk.tag}

    tell(desk, story)


def test_filters_work_while_they_are_typed(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("slash", *"gpt")
        assert isinstance(app.screen, Ask)
        assert [run.name for run in desk.runs()] == ["gpt_small/pretrain", "gpt_small/chat"]
        await pilot.press("enter")
        await pilot.press("slash", *" val/loss<3", "enter")
        assert [run.name for run in desk.runs()] == ["gpt_small/pretrain"]
        await pilot.press("slash", "space", "left_square_bracket", "enter")
        assert "no pattern" in desk.note
        await pilot.press("down", "escape")
        assert len(desk.runs()) == 5
        await pilot.press("slash", *"nothing", "escape")
        assert len(desk.runs()) == 5, "escape takes the filter back"
        await pilot.press("2", "slash", *"lr", "enter")
        assert "train/lr" not in desk.tag_filter
        assert desk.tag_filter == "lr"
        await pilot.press("escape", "6", "slash", *"warn", "enter")
        assert desk.log_length == 1
        await pilot.press("escape")
        assert desk.log_filter == ""

    tell(desk, story)


def test_runs_are_sorted_by_any_key(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("v", *"-spec.model.n_layers", "enter")
        layers = [run.spec["model"]["n_layers"] for run in desk.runs()]
        assert layers == sorted(layers, reverse=True)
        await pilot.press("V")
        assert [run.spec["model"]["n_layers"] for run in desk.runs()] == layers[::-1]
        await pilot.press("v", *["backspace"] * 30, *"best", "enter")
        best = [run.best[0] for run in desk.runs() if run.best]
        assert best == sorted(best)

    tell(desk, story)


@pytest.mark.parametrize("page", ["1", "2"])
def test_keys_of_the_curves(desk: Desk, page: str, tmp_path: Path) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press(page)
        weight = desk.weight
        await pilot.press("s", "s", "S")
        assert desk.weight == weight + 1
        await pilot.press(*"S" * len(WEIGHTS))
        assert desk.smoothing == 0
        await pilot.press("y", "o")
        assert desk.log
        assert desk.outliers
        await pilot.press("x")
        assert desk.x_axis == "tokens"
        await pilot.press("x", "x", "x")
        assert desk.x_axis == "step"
        await pilot.press("comma")
        assert desk.cursor is not None
        assert "@" in plain(app.canvas.lines)
        here = desk.cursor
        await pilot.press("less_than_sign")
        assert desk.cursor < here
        await pilot.press("greater_than_sign", "full_stop")
        assert desk.cursor > here
        await pilot.press("z")
        assert desk.x_range is not None
        left = desk.x_range[0]
        await pilot.press("h")
        assert desk.x_range[0] < left
        await pilot.press("l", "Z", "Z")
        assert desk.x_range is None
        await pilot.press("z", "0")
        assert desk.x_range is None
        assert desk.cursor is None
        await pilot.press("f")
        assert not desk.follow
        await pilot.press("w")
        written = list(tmp_path.glob("tk-*.csv"))
        assert len(written) == 1
        assert written[0].read_text().startswith("run,metric,step,time,value\n")

    tell(desk, story)


@pytest.mark.parametrize("page", ["1", "2"])
@pytest.mark.parametrize("axis", range(len(X_AXES)), ids=X_AXES)
def test_a_zoom_follows_what_is_new_on_every_axis(desk: Desk, live: LiveRun, page: str, axis: int) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        desk.at = "wide/pretrain"
        await pilot.press("space", page, *"x" * axis, "z", "z")
        assert desk.x_range is not None
        before = desk.x_range
        live.advance(400, wall=time.time() + 1e6)
        desk.library.read()
        app.draw()
        assert desk.x_range[0] > before[0]
        assert desk.x_range[1] - desk.x_range[0] == pytest.approx(before[1] - before[0])
        await pilot.press("f")
        assert "not following" in plain(app.canvas.lines[-1:])
        await pilot.press("y")
        assert "not following" not in plain(app.canvas.lines[-1:])

    tell(desk, story)


def test_a_run_is_asked_and_stopping_is_confirmed(desk: Desk, live: LiveRun) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        desk.at = "wide/pretrain"
        await pilot.press("K")
        assert [request.kind for request in pending(live.folder)] == ["checkpoint"]
        await pilot.press("ctrl+d")
        assert isinstance(app.screen, Sure)
        await pilot.press("n")
        assert len(pending(live.folder)) == 1
        await pilot.press("ctrl+d", "y")
        assert {request.kind for request in pending(live.folder)} == {"checkpoint", "stop"}
        assert all(request.by == "somebody in tk dash" for request in pending(live.folder))
        await pilot.press("home", "K")
        assert desk.note == "gpt_small/pretrain is finished: nothing to save."
        await pilot.press("R")
        assert "there is nothing to go on with" in desk.note

    tell(desk, story)


def test_readonly_switches_all_of_it_off(desk: Desk, live: LiveRun) -> None:
    desk.readonly = True

    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        desk.at = "wide/pretrain"
        for key in KEYS:
            if key.writes:
                desk.page = key.pages[0]
                await pilot.press(key.keys.split(",")[0])
                assert len(app.screen_stack) == 1, key.id
        assert pending(live.folder) == []
        assert not (Path("runs") / ".commands").exists()
        assert "save" not in plain(app.canvas.lines[-1:])

    tell(desk, story)


def test_lineage_keys(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("4")
        kept = next(
            i for i, (_, row) in enumerate(desk.lineage.rows) if row.held and row.held.state == "kept"
        )
        desk.lineage.at = kept
        await pilot.press("c")
        await until(pilot, lambda: "is intact" in desk.note)
        row = desk.lineage.rows[kept][1]
        assert desk.lineage.state(row) == "intact"
        weights = row.checkpoint.path / "weights.safetensors"
        weights.write_bytes(b"x" + weights.read_bytes()[1:])
        await pilot.press("c")
        await until(pilot, lambda: "damaged" in desk.note)
        assert desk.lineage.state(row) == "corrupt"
        await pilot.press("e")
        assert desk.note.endswith("is corrupt: nothing can come from it")
        await pilot.press("down", "down")
        for key, words in (("e", "export gpt_small/chat@"), ("t", "fine-tune")):
            await pilot.press(key)
            assert isinstance(app.screen, Ask)
            assert words in app.screen._question
            await pilot.press("escape")

    tell(desk, story)


def test_a_command_that_fails_says_why(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("n", *"nowhere.toml", "enter")
        await until(pilot, lambda: "ended with status 2" in desk.note, 60)
        assert "nowhere.toml" in desk.note

    tell(desk, story)


def test_help_and_palette_name_every_key(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        for key in KEYS:
            assert key.id in app.screen._text
        await pilot.press("escape")
        await pilot.press("colon", *"outliers")
        await pilot.pause(0.5)
        await pilot.press("enter")
        await until(pilot, lambda: desk.outliers)

    tell(desk, story)


def test_keys_can_be_mapped_anew(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.press("y")
        assert not desk.log
        await pilot.press("f5")
        assert desk.log
        await pilot.press("2")
        assert " f5 log" in plain(app.canvas.lines[-1:])

    tell(desk, story, keymap={"log_y": "f5"})


def test_the_mouse_chooses_too(desk: Desk) -> None:
    async def story(app: DashApp, pilot: Pilot[int], desk: Desk) -> None:
        await pilot.click("Canvas", offset=(10, 3))
        assert desk.at == "gpt_small/chat"
        await pilot.click("Canvas", offset=(0, 3))
        assert desk.selected == {"gpt_small/chat"}
        await pilot.click("Canvas", offset=(12, 0))
        assert desk.page == "charts"
        await pilot.click("Canvas", offset=(80, 4))
        assert desk.tag != ""
        await pilot.click("Canvas", offset=(40, 0))
        assert desk.page == "lineage"
        await pilot.click("Canvas", offset=(10, 4))
        assert desk.lineage.at == 2

    tell(desk, story)


def test_it_quits(desk: Desk) -> None:
    for key in ("q", "ctrl+q", "ctrl+c"):

        async def story(app: DashApp, pilot: Pilot[int], desk: Desk, key: str = key) -> None:
            await pilot.press(key)
            await pilot.pause()
            assert not app.is_running

        tell(look(Path("runs")), story)


def test_the_page_of_keys_has_its_columns() -> None:
    assert [key.id for key in KEYS if len(key.help) > 43] == []


def test_every_key_is_named_once() -> None:
    assert len({key.id for key in KEYS}) == len(KEYS)
    taken: dict[tuple[str, str], str] = {}
    for key in KEYS:
        for page in key.pages:
            for one in key.keys.split(","):
                assert (page, one) not in taken, f"{key.id} and {taken[page, one]} share {one} on {page}"
                taken[page, one] = key.id
