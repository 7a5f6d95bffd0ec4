"""The dashboard as a Textual app: keys and messages in, lines out. What is shown is composed elsewhere."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.actions.acting import Acting
from tui.actions.choosing import Choosing
from tui.actions.moving import Moving
from tui.actions.viewing import Viewing
from tui.canvas import Canvas
from tui.dialogs import Ask, Help
from tui.keys import BY_NAME, KEYS, help_text
from tui.pages.frame import tab_at

GRACE_SECONDS = 0.5
"""After a hang-up the process is ended the hard way if it is not gone by then."""


class DashApp(Moving, Choosing, Viewing, Acting):
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

    def on_shown_changed(self) -> None:
        self.check_commands()
        self.draw()

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

    def action_compare(self) -> None:
        self.action_page("compare")

    def action_help(self) -> None:
        self.push_screen(Help(help_text(self.desk.page, self.user_keymap, readonly=self.desk.readonly)))

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

    def _sample(self, changed: bool) -> bool:
        """Read what only some screens show: in the watcher's thread, and only if somebody sees it move."""
        if self.desk.page == "lineage":
            return self.desk.lineage.update()
        if not (
            self.desk.page == "hardware" or (self.desk.page == "runs" and (changed or not self.desk.host))
        ):
            return False
        return self.desk.local.sample()

    def _heed_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(number, self._hung_up, number)

    def _hung_up(self, number: int) -> None:
        # A terminal that is gone may block the way out.
        guard = threading.Timer(GRACE_SECONDS, os._exit, args=(128 + number,))
        guard.daemon = True
        guard.start()
        self.exit(128 + number)
