"""What the dashboard does to runs: requests through their folders, and commands of their own.

A command is a process in a session of its own, so that it survives the dashboard and its terminal.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.store.errors import StoreError
from toolkit.store.health import ACTIVE
from toolkit.store.requests import Kind, ask
from toolkit.store.text import sanitize
from tui.watched import Watched

NOTES = ".commands"
"""Folder in the runs folder for what commands print. Its name hides it from those who look for runs."""
KEPT = 20


class NotPossible(Exception):  # noqa: N818 - an answer to the user, not a fault
    """Why something can't be done, in words."""


def request(run: Watched, kind: Kind) -> str:
    """Ask the run; what to tell the user. Raises NotPossible."""
    if run.folder is None:
        raise NotPossible(f"{run.name} is a log of another program: nothing can be asked of it.")
    if run.health.condition not in ACTIVE:
        raise NotPossible(f"{run.name} is {run.health.condition}: nothing to {_words(kind)}.")
    if run.job is not None and run.job.waiting:
        raise NotPossible(
            f"{run.name} is {run.health.condition}: nothing to {_words(kind)}. "
            f"`scancel {run.job.job}` takes its job out of the queue."
        )
    try:
        ask(run.folder, kind, by=f"{os.environ.get('USER') or os.getuid()} in tk dash")
    except (StoreError, OSError) as error:
        raise NotPossible(str(error)) from error
    return f"{run.name} was asked to {'save a checkpoint' if kind == 'checkpoint' else 'save and stop'}."


def acknowledged(run: Watched, kind: Kind, since: float) -> bool:
    """Whether the run has taken up a request of this kind since a time."""
    return any(
        event["kind"] == "request" and event.get("asks") == kind and float(event["time"]) >= since - 1
        for event in run.events[-50:]
    )


@dataclass
class Command:
    """A `tk` command that runs apart from the dashboard."""

    words: Sequence[str]
    output: Path
    process: "subprocess.Popen[bytes]"

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    def last_words(self, lines: int = 3) -> str:
        """The end of what it printed."""
        try:
            text = self.output.read_bytes()[-4000:].decode(errors="replace")
        except OSError:
            return ""
        return sanitize("  ".join(text.split("\n")[-lines - 1 :]).strip())


def start(root: Path, words: Sequence[str]) -> Command:
    """Run `tk WORDS` apart from the dashboard, its output in a file. Raises NotPossible."""
    folder = root / NOTES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.log"))[:-KEPT]:
            old.unlink(missing_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        output = folder / f"{stamp}-{words[0]}-{os.getpid()}-{time.monotonic_ns() % 1000:03}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "toolkit", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "NO_COLOR": "1"},
            )
    except OSError as error:
        raise NotPossible(f"could not start `tk {' '.join(words)}`: {error}") from error
    return Command(words, output, process)


def resume(run: Watched) -> Command:
    """Go on with a run. Raises NotPossible."""
    if run.folder is None:
        raise NotPossible(f"{run.name} is a log of another program: tk can't go on with it.")
    if run.health.condition in ACTIVE:
        raise NotPossible(f"{run.name} is {run.health.condition}: it needs no resuming.")
    if run.health.condition == "finished":
        raise NotPossible(f"{run.name} is finished: there is nothing to go on with.")
    root = run.folder.root
    return start(root, ["resume", str(run.folder), "--runs", str(root)])


def _words(kind: Kind) -> str:
    return "stop" if kind == "stop" else "save"
