"""Signals and requests become a flag that the loop looks at; nothing happens inside a handler."""

import os
import signal
from types import FrameType

from toolkit.store.requests import acknowledge, pending
from toolkit.store.runs import RunFolder

EXIT_FINISHED = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_STOPPED = 75
"""Stopped with the work saved (EX_TEMPFAIL: try again and it goes on)."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Interrupts:
    """Why the run should stop, once something asked for it. A second SIGINT leaves at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def install(self) -> None:
        for number in STOPPING:
            signal.signal(number, self._handle)

    def ask(self, reason: str) -> None:
        """Stop at the next look, unless something else asked before."""
        self.reason = self.reason or reason

    def __bool__(self) -> bool:
        return self.reason is not None

    def heed(self, run: RunFolder) -> bool:
        """Take up what was asked through the run's folder; True if a checkpoint was."""
        asked = pending(run)
        for request in asked:
            acknowledge(run, request)
            if request.kind == "stop":
                self.ask(f"asked by {request.by}")
        return any(request.kind == "checkpoint" for request in asked)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "SIGINT":
            os._exit(128 + number)
        self.ask(signal.Signals(number).name)
