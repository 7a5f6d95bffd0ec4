"""The app as far as every key needs it: the desk, the lines it is drawn in, a line of text asked for."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import RenderableType
from textual._compositor import ChopsUpdate
from textual.actions import ActionParseResult
from textual.app import App
from textual.dom import DOMNode
from textual.message import Message
from textual.screen import Screen

from tui.canvas import Canvas
from tui.compose import compose, shown_keys
from tui.cropped import CroppedUpdate
from tui.library import Watcher
from tui.pages.frame import ROWS
from tui.state import Desk

BACK_OFF = (1.0, 2.0, 5.0)
"""Seconds to wait for a terminal that has not taken the last screen: first, second, every further time."""


class Shown(App[int]):
    """Draws the desk. The groups of actions stand on it."""

    class Changed(Message):
        """The runs, or what is known of this machine, changed."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Shown.Changed)

    def __init__(self, desk: Desk, keymap: dict[str, str] | None = None) -> None:
        super().__init__()
        self.desk = desk
        self.user_keymap = keymap or {}
        self.canvas = Canvas()
        self.watcher = Watcher(desk.library, self._tell)
        self._skipped = 0
        self._late: object = None
        self._live: Callable[[str], None] | None = None

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

    async def run_action(
        self,
        action: "str | ActionParseResult",
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Carry out a key's action. What was said before is over with it; escape is for that, too."""
        if default_namespace is self and action != "go_back":
            self.desk.note = ""
        return await super().run_action(action, default_namespace, namespaces)

    def say(self, text: str) -> None:
        """Say something in the last line, until the next key."""
        self.desk.note = text
        self.draw()

    def ask(
        self,
        question: str,
        text: str,
        hint: str,
        take: Callable[[str], None],
        known: Sequence[str] = (),
        *,
        live: bool = False,
    ) -> None:
        """Ask for a line of text, `known` being completed. A `live` one is taken with every letter, and taken
        back by escape."""
        from tui.dialogs import Ask

        self._live = take if live else None

        def answered(answer: str | None) -> None:
            self._live = None
            if answer is not None:
                take(answer)
            elif live:
                take(text)

        self.push_screen(Ask(question, text, known, hint), answered)

    def typed(self, text: str) -> None:
        """A letter was typed into the line that is asked for."""
        if self._live:
            self._live(text)

    @property
    def page_rows(self) -> int:
        """Lines that the page has, without the frame and a line of its own."""
        return max(self.canvas.size.height - ROWS - 1, 1)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        update = CroppedUpdate.of(renderable) if isinstance(renderable, ChopsUpdate) else renderable
        super()._display(screen, update)

    def _tell(self) -> None:
        self.post_message(self.Changed())

    def _behind(self) -> bool:
        """Whether the terminal has not yet taken what was sent before."""
        queue = getattr(getattr(self._driver, "_writer_thread", None), "_queue", None)
        return queue is not None and queue.qsize() > 0

    def _try_again(self) -> None:
        self._late = None
        self.draw()
