"""What SLURM says of the runs that were handed to it: asked now and then, and never waited for."""

import threading
import time
from collections.abc import Iterable, Mapping

from toolkit.store.runs import RunFolder
from toolkit.store.slurm import Queued, queued

SECONDS = 10.0
"""Between two questions: `squeue` is a load on the controller that all users share."""


class Queue:
    """The jobs of the runs, as SLURM told last."""

    def __init__(self) -> None:
        self.jobs: Mapping[RunFolder, Queued] = {}
        self._asked = -SECONDS
        self._thread: threading.Thread | None = None

    def refresh(self, runs: Iterable[RunFolder]) -> None:
        """Ask anew in a thread of its own, if it is time to: an answer may take its ten seconds."""
        if time.monotonic() - self._asked < SECONDS or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self.ask, args=(list(runs),), name="queue", daemon=True)
        self._thread.start()

    def ask(self, runs: Iterable[RunFolder]) -> None:
        """Ask, and wait for the answer. Without a run that was submitted, or without SLURM, nobody is asked."""
        self.jobs = queued(runs)
        self._asked = time.monotonic()
