"""The dashboard as a Textual app: keys and messages in, lines out. What is shown is composed elsewhere."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from tui.actions import Actions
from tui.canvas import Canvas
from tui.compose import compose, shown_keys
from tui.dialogs import Ask
from tui.keys import BY_NAME, KEYS
from tui.library import Watcher
from tui.pages.frame import tab_at
from tui.state import Desk

BACK_OFF = (1.0, 2.0, 5.0)
"""Seconds to wait for a terminal that has not taken the last screen: first, second, every further time."""
GRACE_SECONDS = 0.5
"""After a hang-up the process is ended the hard way if it is not gone by then."""


class DashApp(Actions, App[int]):
    """One dashboard. Exits with 0, or with 128 and the number of the signal that ended it."""

    CSS_PATH = "dash.tcss"
    TITLE = "tk dash"
    BINDINGS: ClassVar[list[BindingType]] = [
        # Textual's screens have tab for themselves, and ctrl+c for a hint.
        Binding(
            *(key.keys, key.action, key.words, key.shown, None),
            priority="tab" in key.keys or key.id == "quit",
            id=key.id,
            tooltip=key.help,
        )
        for key in KEYS
    ]
    COMMAND_PALETTE_BINDING = "ctrl+p"

    class Changed(Message):
        """The runs, or what is known of this machine, changed."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, DashApp.Changed)

    def __init__(self, desk: Desk, keymap: dict[str, str] | None = None) -> None:
        super().__init__()
        self.desk = desk
        self.user_keymap = keymap or {}
        self.canvas = Canvas()
        self.watcher = Watcher(desk.library, self._tell)
        self._skipped = 0
        self._late: object = None

    def compose(self) -> ComposeResult:
        yield self.canvas

    def on_mount(self) -> None:
        self.set_keymap(self.user_keymap)
        self._heed_signals()
        self.watcher.also = self._sample
        self.watcher.start()

    def on_unmount(self) -> None:
        self.watcher.stop()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def on_dash_app_changed(self) -> None:
        self._check_commands()
        self.draw()

    def draw(self) -> None:
        """Show the desk as it is now; later, if the terminal has not taken what was sent before."""
        if self._behind():
            if self._late is None:
                wait = BACK_OFF[min(self._skipped, len(BACK_OFF) - 1)]
                self._skipped += 1
                self._late = self.set_timer(wait, self._try_again)
            return
        self.desk.slow_link = self._skipped > 1
        if self._late is None:
            self._skipped = 0
        columns, rows = self.canvas.size
        if columns and rows:
            self.canvas.show(compose(self.desk, columns, rows, shown_keys(self.desk, self.user_keymap)))

    def on_canvas_pressed(self, event: Canvas.Pressed) -> None:
        if event.row == 0:
            if page := tab_at(event.column):
                self.action_page(page)
            return
        self.press(event.row - 1, event.column, twice=event.twice)
        self.draw()

    def on_canvas_turned(self, event: Canvas.Turned) -> None:
        self.action_move(event.notches)

    def on_ask_typed(self, event: Ask.Typed) -> None:
        self.typed(event.text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key works on this screen."""
        if isinstance(self.screen, Screen) and self.screen.is_modal and action in BY_NAME:
            return action == "quit"
        key = BY_NAME.get(action)
        if key is None:
            return True
        works = any(
            self.desk.page in other.pages for other in KEYS if other.action.partition("(")[0] == action
        )
        return works and not (self.desk.readonly and key.writes)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every key of every screen, by what it does."""
        yield from (
            command for command in super().get_system_commands(screen) if command.title in ("Theme", "Quit")
        )
        for key in KEYS:
            if self.desk.readonly and key.writes:
                continue
            name = key.action.partition("(")[0]

            def carry_out(action: str = key.action, pages: tuple[str, ...] = key.pages) -> None:
                if self.desk.page not in pages:
                    self.desk.page = pages[0]  # type: ignore[assignment]
                self.call_later(self.run_action, action)

            if name not in ("quit", "command_palette", "move", "move_page", "cursor", "sideways"):
                yield SystemCommand(f"{key.words}: {key.help}", key.id, carry_out)

    def _tell(self) -> None:
        self.post_message(self.Changed())

    def _sample(self, changed: bool) -> bool:
        """Read this machine's counters: in the watcher's thread, and only if somebody sees them move."""
        if not (
            self.desk.page == "hardware" or (self.desk.page == "runs" and (changed or not self.desk.host))
        ):
            return False
        return self.desk.local.sample()

    def _behind(self) -> bool:
        """Whether the terminal has not yet taken what was sent before."""
        queue = getattr(getattr(self._driver, "_writer_thread", None), "_queue", None)
        return queue is not None and queue.qsize() > 0

    def _try_again(self) -> None:
        self._late = None
        self.draw()

    def _heed_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, self._hung_up, number)

    def _hung_up(self, number: int) -> None:
        # A terminal that is gone may block the way out.
        guard = threading.Timer(GRACE_SECONDS, os._exit, args=(128 + number,))
        guard.daemon = True
        guard.start()
        self.exit(128 + number)
