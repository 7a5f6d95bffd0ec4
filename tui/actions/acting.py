"""Acting on runs: requests to them, and commands begun from here, looked after until they end."""

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.store.requests import Kind
from tui import act
from tui.actions.shown import Shown
from tui.lines import safe
from tui.state import Desk

if TYPE_CHECKING:
    from tui.lineage import Row

ANSWER_SECONDS = 60.0
"""How long a request is watched for its acknowledgement."""


class Acting(Shown):
    """The actions that change runs, or begin them."""

    def __init__(self, desk: Desk, keymap: dict[str, str] | None = None) -> None:
        super().__init__(desk, keymap)
        self._asked: dict[str, tuple[Kind, float]] = {}
        """What runs were asked for and when, until they take it up."""
        self._commands: list[act.Command] = []

    def action_checkpoint(self) -> None:
        self._request("checkpoint")

    def action_stop(self) -> None:
        from tui.dialogs import Sure

        run = self.desk.current()
        if run is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._request("stop")
            else:
                self.say("nothing was asked")

        self.push_screen(
            Sure(f"Stop {safe(run.name)}? It saves its work first; R goes on with it later."), answered
        )

    def action_resume(self) -> None:
        run = self.desk.current()
        if run is None:
            return
        self._start(lambda: act.resume(run), f"{run.name} goes on in the background")

    def action_start(self) -> None:
        self._ask_command("start a run", "SPEC [KEY=VALUE …] [--as NAME]", ["run"], _specs())

    def action_tune(self) -> None:
        if row := self._here():
            parent = f"parent={row.reference}"
            hint = f"SPEC [--stage NAME] [KEY=VALUE …]; {parent} is added unless --stage is given"
            self._ask_command("fine-tune by the spec", hint, ["run"], _specs(), parent)

    def action_export(self) -> None:
        if row := self._here():
            words = ["export", row.reference]
            self._ask_command(f"export {row.reference} to the new folder", "FOLDER", words)

    def action_verify(self) -> None:
        row = self.desk.lineage.current
        if row is None or row.checkpoint is None or row.folded:
            self.say("put the cursor on a checkpoint")
            return
        self.say(f"reading {row.reference} …")

        def work() -> None:
            said = self.desk.lineage.verify(row)
            self.call_from_thread(self.say, said)

        self.run_worker(work, thread=True)

    def _here(self) -> "Row | None":
        """The row of the lineage under the cursor, where something can be begun from it."""
        row = self.desk.lineage.current
        if row is None or row.export or row.folded:
            self.say("put the cursor on a run or a checkpoint")
        elif row.node.run is None:
            self.say(f"{row.node.key} is not here")
        elif row.held is not None and self.desk.lineage.state(row) in ("deleted", "corrupt"):
            self.say(f"{row.reference} is {self.desk.lineage.state(row)}: nothing can come from it")
        else:
            return row
        return None

    def check_commands(self) -> None:
        """Tell of commands that ended, and of requests that were taken up."""
        for command in list(self._commands):
            if command.status is not None:
                self._commands.remove(command)
                end = "is done" if command.status == 0 else f"ended with status {command.status}"
                self.desk.note = f"tk {command.words[0]} {end}: {command.last_words()}"
        for name, (kind, since) in list(self._asked.items()):
            run = self.desk.library.runs.get(name)
            if run is not None and act.acknowledged(run, kind, since):
                del self._asked[name]
                self.desk.note = f"{name} took up the request to {'save' if kind == 'checkpoint' else 'stop'}"
            elif time.time() - since > ANSWER_SECONDS:
                del self._asked[name]
                self.desk.note = f"{name} has not answered the request to {kind}"

    def _request(self, kind: Kind) -> None:
        run = self.desk.current()
        if run is None:
            return
        try:
            text = act.request(run, kind)
        except act.NotPossible as error:
            self.say(str(error))
            return
        self._asked[run.name] = kind, time.time()
        self._look_after()
        self.say(text)

    def _ask_command(
        self, question: str, hint: str, words: Sequence[str], known: Sequence[str] = (), parent: str = ""
    ) -> None:
        def take(text: str) -> None:
            try:
                typed = shlex.split(text)
            except ValueError as error:
                self.say(f"not understood: {error}")
                return
            if not typed:
                return
            root = self.desk.library.runs_root
            more = [parent] if parent and "--stage" not in typed else []
            self._start(
                lambda: act.start(root, [*words, *typed, *more, "--runs", str(root)]),
                f"`tk {words[0]} {' '.join(typed)}` runs in the background",
            )

        self.ask(question, "", hint, take, known)

    def _start(self, begin: Callable[[], act.Command], text: str) -> None:
        try:
            command = begin()
        except act.NotPossible as error:
            self.say(str(error))
            return
        self._commands.append(command)
        self._look_after()
        self.say(text)

    def _look_after(self) -> None:
        self.set_timer(1.0, self._poll_commands)

    def _poll_commands(self) -> None:
        """Look after commands and requests, as long as there are any: they may end without a word."""
        before = self.desk.note
        self.check_commands()
        if self.desk.note != before:
            self.draw()
        if self._commands or self._asked:
            self._look_after()


def _specs() -> list[str]:
    """Specs near by, for completion."""
    return sorted(str(path) for path in [*Path().glob("*.toml"), *Path().glob("specs/*.toml")])
