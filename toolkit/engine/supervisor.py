"""The light process behind `tk run`: it starts a worker, passes signals on, and tells how the worker ended.

It imports no torch, sets up what must stand before the worker's first allocation, and outlives its crash.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from toolkit.engine.interrupts import EXIT_FAILED, STOPPING
from toolkit.engine.job import Job

HUGE_PAGES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {
        "hugetlb": 1,
        "mmap_max": 0,
        "trim_threshold": 1 << 40,
        "top_pad": 64 << 20,
    }.items()
)
"""Have glibc use huge pages and keep what it has: tensors are freed and made again at every step."""


SPIN = "10000"
"""Turns that an OpenMP thread waits for the others before it sleeps. The default of 300,000 keeps a core from
the very thread that is waited for, as soon as another program runs: steps then take up to nine times as
long."""


def supervise(job: Job) -> int:
    """Carry out a job in a process of its own; its exit status, 1 if a signal ended it."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "toolkit.engine.worker"],
        stdin=subprocess.PIPE,
        env=worker_environment(os.environ),
        start_new_session=True,  # the terminal's Ctrl-C comes once, through here
    )
    with _passing_signals_to(worker):
        assert worker.stdin is not None
        try:
            worker.stdin.write(job.model_dump_json().encode())
            worker.stdin.close()
        except BrokenPipeError:
            pass  # it died before it read; its status says the rest
        status = worker.wait()
    if status >= 0:
        return status
    number = signal.Signals(-status)
    hint = " Out of memory? Try a smaller run.micro_batch." if number == signal.SIGKILL else ""
    if number != signal.SIGINT:
        print(
            f"the worker was ended by {number.name}.{hint} `tk run` goes on from the last checkpoint.",
            file=sys.stderr,
        )
    return EXIT_FAILED


def worker_environment(environment: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    """The environment of a worker: as it is, with what must be set before a process starts."""
    defaults = {"TOKENIZERS_PARALLELISM": "true"}
    if "OMP_WAIT_POLICY" not in environment:
        defaults["GOMP_SPINCOUNT"] = SPIN
    tunables = environment.get("GLIBC_TUNABLES")
    return {
        **defaults,
        **environment,
        "GLIBC_TUNABLES": f"{tunables}:{HUGE_PAGES}" if tunables else HUGE_PAGES,
    }


@contextmanager
def _passing_signals_to(worker: "subprocess.Popen[bytes]") -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        worker.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
