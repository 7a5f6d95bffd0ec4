"""What a run prints: to the terminal, with a progress bar there, and to `console.log`."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from toolkit.store.text import sanitize

PLAIN_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""


class Console:
    """Lines go to standard output and to the run's console.log; a bar is drawn on terminals only."""

    def __init__(self, log: Path | None = None, *, quiet: bool = False) -> None:
        self._out = RichConsole(highlight=False, quiet=quiet)
        self._log = log.open("a", encoding="utf-8") if log else None
        self._bar: Progress | None = None
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_phase()
        if self._log:
            self._log.close()

    def say(self, text: str = "", style: str = "") -> None:
        """Print lines, above the bar where there is one. Control characters are shown, not obeyed."""
        clean = sanitize(text, multiline=True)
        # Words wrap on a terminal; what is piped keeps its lines.
        self._out.print(Text(clean, style=style), soft_wrap=not self._out.is_terminal)
        if self._log:
            self._log.write(clean + "\n")
            self._log.flush()

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}", style="yellow")

    def start_phase(self, name: str, total: float | None) -> None:
        """Begin a phase with a bar of its own in place of the last one."""
        self.end_phase()
        self._phase, self._total, self._done = name, total, 0.0
        self._begin = self._said = time.monotonic()
        if self._out.is_terminal and not self._out.quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TextColumn("{task.fields[note]}", style="dim"),
                console=self._out,
                transient=True,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(name, total=total, note="")
            self._bar.start()

    def advance(self, done: float, note: str = "") -> None:
        """Move the phase to `done` of its total. Where there is no terminal, a line now and then."""
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
        elif time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            share = f" {100 * done / self._total:3.0f} %" if self._total else ""
            self.say(f"{self._phase}{share}  {note}")

    def end_phase(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


class DataProgress:
    """The data floor's view of a console: bytes or shards done, and whether to stop."""

    def __init__(self, console: Console, stopping: Callable[[], bool]) -> None:
        self._console = console
        self._stopping = stopping
        self._done = 0

    def start(self, phase: str, total: int | None) -> None:
        self._done = 0
        self._console.start_phase(phase, total)

    def advance(self, n: int) -> None:
        self._done += n
        self._console.advance(self._done)

    def note(self, text: str) -> None:
        self._console.warn(text)

    def should_stop(self) -> bool:
        return self._stopping()
