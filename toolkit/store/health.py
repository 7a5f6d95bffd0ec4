"""Whether a run is well: what it says of itself, against its process and its own cadence."""

import time
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from toolkit.store.heartbeat import read_heartbeats
from toolkit.store.lease import Holder, read_holder
from toolkit.store.runs import RunFolder
from toolkit.store.status import State, Status, read_status

Condition = State | Literal["slow", "hung", "dead", "waiting", "queued", "requeued", "empty", "quiet"]
"""`waiting` for its parent; `queued` and `requeued`: SLURM has its job; `quiet`: a log of another program
that nothing is added to."""
ACTIVE = ("preparing", "running", "slow", "hung", "waiting", "queued", "requeued")
"""Conditions of a run that somebody still works on, or will."""
LATE_STEPS, LATE_SECONDS = 3, 5.0
"""Without a sign of life for so many of its own steps and so many seconds, a run is slow."""
HUNG_STEPS, HUNG_SECONDS = 10, 15.0
"""Likewise, it is hung."""
SLOWER = 2.0
"""A run whose steps take so many times what is usual for it is slow."""
SILENCE = 300.0
"""Seconds without a heartbeat after which a process on another host counts as gone at first look."""
UNSEEN_SECONDS = 60.0
"""Likewise, once it was watched: NFS shows changes up to a minute late."""


class Health(NamedTuple):
    """The condition of a run in a word, and why in a few more; empty where the word says it all."""

    condition: Condition
    reason: str = ""


@dataclass
class Pulse:
    """Watches one run. The longer it does, the less it needs the clocks of other hosts to be right."""

    run: RunFolder
    _sign: float | None = None
    _seen: float = field(default_factory=time.monotonic)
    _watched: bool = False

    def take(self, status: Status | None, usual: float | None = None) -> Health:
        """The run's health by its newest status. `usual` is the time of its typical step in seconds.

        Raises BadFile.
        """
        if status is None:
            return Health("empty")
        if status.state not in ("preparing", "running"):
            return Health(status.state, status.reason or "")
        holder = read_holder(self.run)
        if holder is None:
            # The lease may have been let go between the two readings, with the status finished before it.
            again = read_status(self.run)
            if again and again.state not in ("preparing", "running"):
                return Health(again.state, again.reason or "")
            return Health("dead", "it ended without a word")
        alive = holder.process.alive()
        if alive is False:
            return Health("dead", f"process {holder.process.pid} on {holder.process.host} is gone")
        silent, step = self._silence(status, holder, here=alive is not None), _step_seconds(status)
        if alive is None and silent > max(UNSEEN_SECONDS if self._watched else SILENCE, HUNG_STEPS * step):
            return Health("dead", f"no sign of life from {holder.process.host} for {silent:.0f} s")
        if alive and holder.process.suspended():
            return Health("hung", f"process {holder.process.pid} is stopped by a signal")
        if status.state == "preparing":
            return Health("preparing")
        if silent > max(HUNG_SECONDS, HUNG_STEPS * step):
            return Health("hung", f"no sign of life for {silent:.0f} s; its steps take {step:.2g} s")
        if silent > max(LATE_SECONDS, LATE_STEPS * step):
            return Health("slow", f"no step for {LATE_STEPS} times as long as one takes")
        if usual and step > SLOWER * usual:
            return Health("slow", f"a step takes {step:.2g} s instead of {usual:.2g} s")
        return Health("running")

    def _silence(self, status: Status, holder: Holder, *, here: bool) -> float:
        """Seconds since the last sign of life: by the clock of this host if the run is here."""
        beats = [beat.time for beat in read_heartbeats(self.run) if beat.time >= holder.since]
        # Every rank must beat: one that is stuck holds up the others.
        sign = min(beats, default=max(holder.since, status.time))
        now = time.monotonic()
        if sign != self._sign:
            self._watched = self._sign is not None
            self._sign, self._seen = sign, now
        by_clock = time.time() - sign
        if here:
            return by_clock
        # The other host's clock may be wrong: once a change was seen, only what passed here since counts.
        return now - self._seen if self._watched else by_clock


def check_health(run: RunFolder) -> tuple[Health, Status | None]:
    """The run's health at one look, and its status. Raises BadFile."""
    status = read_status(run)
    return Pulse(run).take(status), status


def _step_seconds(status: Status) -> float:
    return status.metrics.get("perf/step_seconds", 0.0) + status.metrics.get("perf/data_wait_seconds", 0.0)
