"""Questions to the user: a line of text, yes or no, and the page of keys."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static


class Ask(ModalScreen[str | None]):
    """Asks for a line of text; None if it was left by escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    class Typed(Message):
        """The line as it stands while it is being typed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, question: str, text: str = "", known: Sequence[str] = (), hint: str = "") -> None:
        super().__init__()
        self._question, self._text, self._known, self._hint = question, text, known, hint

    def compose(self) -> ComposeResult:
        with Vertical(classes="line"):
            yield Static(Text(self._question), classes="question")
            suggester = SuggestFromList(self._known, case_sensitive=False) if self._known else None
            yield Input(self._text, suggester=suggester, select_on_focus=False)
            yield Static(Text(self._hint, style="dim"), classes="hint")

    def on_input_changed(self, event: Input.Changed) -> None:
        self.app.post_message(self.Typed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)


class Sure(ModalScreen[bool]):
    """Asks yes or no; anything but `y` means no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,Y", "yes", "yes"),
        Binding("n,N,escape,enter,q", "no", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="line"):
            yield Static(Text(self._question), classes="question")
            yield Static(Text("y yes    n no", style="dim"), classes="hint")

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)


class Help(ModalScreen[None]):
    """The keys, those of the present screen first."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,f1,enter", "leave", "leave")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="page"):
            yield Static(Text(self._text))

    def action_leave(self) -> None:
        self.dismiss(None)
