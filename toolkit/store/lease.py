"""One writer a run: a lock that dies with its process, and a lease that says who holds it.

flock alone is not enough: some network file systems grant it on two hosts at once. So the holder also
writes a lease with a nonce, and reads it back before each commit (fencing).
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from toolkit.store.atomic import fsync_folder, read_json, remove_temporaries, to_json, write_new
from toolkit.store.errors import BadFile, LeaseLost, RunHeld
from toolkit.store.heartbeat import last_sign
from toolkit.store.process import Process
from toolkit.store.runs import RunFolder

RECENT = 60.0
"""Seconds: a heartbeat from another host is worth waiting on if it is no older."""
PATIENCE = 15.0
"""Seconds to watch for the next heartbeat of a holder on another host before its lease is taken over."""
DROPPED_SECONDS = 2.0
"""For a child of a holder that is gone to drop its lock."""

_held: set[int] = set()


def _drop_in_child() -> None:
    # A lock lives until its last descriptor closes, so a forked worker must not outlive its parent with one.
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)


@dataclass(frozen=True)
class Holder:
    """Who holds a run, and since when in Unix seconds."""

    process: Process
    nonce: str
    since: float


@dataclass(frozen=True)
class Lease:
    """The right to write a run."""

    run: RunFolder
    holder: Holder

    def check(self) -> None:
        """Raises LeaseLost unless this process still holds the run. Call before anything becomes visible."""
        now = read_holder(self.run)
        if now is None:
            raise LeaseLost(f"{self.run.lease} is gone: this process no longer holds {self.run}.")
        if now.nonce != self.holder.nonce:
            raise LeaseLost(f"{self.run} was taken over by {_describe(now)}.")


@contextmanager
def hold(run: RunFolder, patience: float = PATIENCE) -> Iterator[Lease]:
    """Hold the run for the length of the block. The folder must exist.

    The lease of a process that is gone is taken over. Raises RunHeld, naming the holder.
    """
    descriptor = _lock(run)
    _held.add(descriptor)
    try:
        lease = _take(run, patience)
        remove_temporaries(run.path)
        remove_temporaries(run.heartbeat)
        try:
            yield lease
        finally:
            now = read_holder(run)
            if now is not None and now.nonce == lease.holder.nonce:
                with suppress(OSError):  # a lease whose process is gone is taken over
                    run.lease.unlink(missing_ok=True)
    finally:
        if descriptor in _held:  # not in a forked child that leaves the block on its way out
            _held.discard(descriptor)
            os.close(descriptor)


def read_holder(run: RunFolder) -> Holder | None:
    """Who holds the run by its lease; None without one, or if a crash left only a part of it."""
    try:
        fields = read_json(run.lease)
        return Holder(Process(**fields["process"]), str(fields["nonce"]), float(fields["since"]))
    except (FileNotFoundError, NotADirectoryError, BadFile, KeyError, TypeError, ValueError):
        return None


def _lock(run: RunFolder) -> int:
    # A child that a killed holder had just forked has its lock for a moment, until it drops it.
    end = time.monotonic() + DROPPED_SECONDS
    while True:
        descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), run.lock.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            holder = read_holder(run)
            if holder is None or holder.process.alive() is not False or time.monotonic() > end:
                raise RunHeld(_held_by(run, holder)) from None
            time.sleep(0.01)
            continue
        except FileNotFoundError:
            pass
        # The file was replaced between opening and locking: this lock guards nothing.
        os.close(descriptor)


def _take(run: RunFolder, patience: float) -> Lease:
    before = read_holder(run)
    if before is not None and before.process != Process.current():
        alive = before.process.alive()
        if alive or (alive is None and _still_beats(run, patience)):
            raise RunHeld(_held_by(run, before))
    with suppress(FileNotFoundError):
        now = read_holder(run)
        if now is not None and (before is None or now.nonce != before.nonce):
            raise RunHeld(_held_by(run, now))
        run.lease.unlink()
    holder = Holder(Process.current(), secrets.token_hex(16), round(time.time(), 3))
    try:
        write_new(run.lease, to_json(asdict(holder)) + b"\n")
    except FileExistsError:
        raise RunHeld(_held_by(run, read_holder(run))) from None
    fsync_folder(run.path)
    lease = Lease(run, holder)
    lease.check()
    return lease


def _still_beats(run: RunFolder, patience: float) -> bool:
    """Watch the heartbeat of a holder that can't be seen from here."""
    first = last_sign(run)
    if time.time() - first > RECENT:
        return False
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(min(0.25, patience / 4))
        if last_sign(run) != first:
            return True
    return False


def _held_by(run: RunFolder, holder: Holder | None) -> str:
    who = _describe(holder) if holder else "a process that has not signed its lease yet"
    return f"{run} is held by {who}. Stop it with `tk stop {run}`, or wait until it is done."


def _describe(holder: Holder) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    return f"process {holder.process.pid} on {holder.process.host}, since {since}"
