"""Notices a run that no longer gets on, and writes down where it stands before it is ended.

Belongs to the supervisor: it only reads heartbeats, so it works whatever the ranks are stuck in. Judged by
this process's own clock, which no one sets.
"""

import os
import signal
import socket
import time
from dataclasses import dataclass, field

from toolkit.engine.stacks import ASK
from toolkit.store.events import append_event
from toolkit.store.heartbeat import Heartbeat, read_heartbeats
from toolkit.store.runs import RunFolder

DESERTED_SECONDS = 30.0
DUMP_SECONDS = 2.0
"""For the ranks to write their stacks."""


@dataclass
class Watch:
    """Looks after the ranks of a run on this machine."""

    run: RunFolder
    parent: int
    """Process that the ranks descend from."""
    _last_rank: float | None = None
    """When a rank was last alive here, by the monotonic clock."""
    _seen: dict[int, tuple[Heartbeat, float]] = field(default_factory=dict)

    def hanging(self) -> list[Heartbeat]:
        """The ranks that have been silent for longer than their patience."""
        now = time.monotonic()
        silent = []
        here = self._here()
        if here:
            self._last_rank = now
        for beat in here:
            before = self._seen.get(beat.rank)
            if before is None or before[0] != beat:
                self._seen[beat.rank] = (beat, now)
            elif beat.patience is not None and now - before[1] > beat.patience:
                silent.append(beat)
        return silent

    def deserted(self) -> bool:
        """Whether all ranks here are gone, and what started them stays: it waits for a machine that is lost."""
        return self._last_rank is not None and time.monotonic() - self._last_rank > DESERTED_SECONDS

    def end(self, silent: list[Heartbeat]) -> str:
        """Have every rank here write its stacks, then kill them all; what to tell the user."""
        here = self._here()
        for beat in here:
            _signal(beat.pid, ASK)
        time.sleep(DUMP_SECONDS)
        states = {beat.rank: _state(beat.pid) for beat in here}
        longest = max(time.monotonic() - self._seen[beat.rank][1] for beat in silent)
        names = ", ".join(f"{beat.rank} ({states[beat.rank]})" for beat in here)
        reason = (
            f"no step for {longest:.0f} s, at step {max(beat.step for beat in silent)}: ended as hanging. "
            f"Ranks here: {names}. Their stacks are in {self.run.stacks}."
        )
        append_event(self.run, "hang", reason=reason, ranks=[beat.rank for beat in silent])
        for beat in here:
            _signal(beat.pid, signal.SIGKILL)
        return reason

    def _here(self) -> list[Heartbeat]:
        """Heartbeats of ranks on this machine that live and descend from our child."""
        host = socket.gethostname()
        return [
            beat
            for beat in read_heartbeats(self.run)
            if beat.host == host and _descends(beat.pid, self.parent)
        ]


def _descends(pid: int, ancestor: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False  # an agent that waits for a lost machine doesn't look after its dead
        return pid == ancestor or any(parent.pid == ancestor for parent in process.parents())
    except psutil.Error:
        return False


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _state(pid: int) -> str:
    """`running`, `sleeping`, `stopped` … of a process."""
    import psutil

    try:
        return str(psutil.Process(pid).status())
    except psutil.Error:
        return "gone"
