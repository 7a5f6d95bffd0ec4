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
from toolkit.engine.ranks import UNDER_AGENT
from toolkit.engine.watch import Watch
from toolkit.engine.worker import PARENT, die_with_parent
from toolkit.store.checkpoints import CheckpointStore

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


SHAPES = "64"
"""Kernels that oneDNN and torch each keep compiled for their shapes; both keep 1024 by default. Labelled rows have many
lengths, and a fine-tune in bfloat16 then grows by some 20 MB a step. A training step needs about 25."""

SPIN = "10000"
"""Turns that an OpenMP thread waits for the others before it sleeps. The default of 300,000 keeps a core from
the very thread that is waited for, as soon as another program runs: steps then take up to nine times as
long."""


WATCH_SECONDS = 1.0
"""Between two looks at the heartbeats."""
AFTER_HANG_SECONDS = 10.0
"""For the agent to notice that its ranks were killed, before it is too."""
FRUITLESS = 2
"""Restarts in a row that brought no new checkpoint: the next would end as they did."""


def supervise(job: Job) -> int:
    """Carry out a job in processes of its own; its exit status, 1 if a signal ended it.

    After a crash or a hang it is begun again from the last checkpoint, as often as `job.launch.max_restarts`.
    """
    launch, fruitless = job.launch, 0
    if UNDER_AGENT in os.environ:
        die_with_parent()
    for restart in range(launch.max_restarts + 1):
        before = _last_step(job)
        attempt = launch.model_copy(update={"run_id": f"{launch.run_id}-{restart}"})
        status, asked = _attempt(job.model_copy(update={"launch": attempt}))
        fruitless = fruitless + 1 if _last_step(job) == before else 0
        if status != EXIT_FAILED or asked or restart == launch.max_restarts or fruitless > FRUITLESS:
            return status
        print(
            f"begun again from the last checkpoint, restart {restart + 1} of {launch.max_restarts}",
            file=sys.stderr,
            flush=True,
        )
    return EXIT_FAILED


def _last_step(job: Job) -> int:
    checkpoints = CheckpointStore(job.run).list()
    return checkpoints[-1].step if checkpoints else 0


def _attempt(job: Job) -> tuple[int, bool]:
    """One attempt's exit status, and whether a signal asked it to stop."""
    module = "worker" if job.launch.alone else "agent"
    worker = subprocess.Popen(
        [sys.executable, "-m", f"toolkit.engine.{module}"],
        stdin=subprocess.PIPE,
        env=worker_environment(os.environ) | {PARENT: str(os.getpid())},
        start_new_session=True,  # the terminal's Ctrl-C comes once, through here
    )
    with _passing_signals_to(worker) as asked:
        assert worker.stdin is not None
        try:
            worker.stdin.write(job.model_dump_json().encode())
            worker.stdin.close()
        except BrokenPipeError:
            pass  # it died before it read; its status says the rest
        status, hung = _wait(worker, Watch(job.run, worker.pid))
    if hung:
        print(f"error: {hung}", file=sys.stderr, flush=True)
        return EXIT_FAILED, bool(asked)
    return (status if status >= 0 else _killed(status)), bool(asked)


def _wait(worker: "subprocess.Popen[bytes]", watch: Watch) -> tuple[int, str | None]:
    """The exit status, and what was found if it hung."""
    hung: str | None = None
    while True:
        try:
            return worker.wait(WATCH_SECONDS if hung is None else AFTER_HANG_SECONDS), hung
        except subprocess.TimeoutExpired:
            if hung is not None or watch.deserted():
                worker.kill()
            elif silent := watch.hanging():
                hung = watch.end(silent)


def _killed(status: int) -> int:
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
    defaults = {
        "TOKENIZERS_PARALLELISM": "true",
        "LRU_CACHE_CAPACITY": SHAPES,
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": SHAPES,
    }
    if "OMP_WAIT_POLICY" not in environment:
        defaults["GOMP_SPINCOUNT"] = SPIN
    tunables = environment.get("GLIBC_TUNABLES")
    return {
        **defaults,
        **environment,
        "GLIBC_TUNABLES": f"{tunables}:{HUGE_PAGES}" if tunables else HUGE_PAGES,
    }


@contextmanager
def _passing_signals_to(worker: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Gives the signals that came."""
    came: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        worker.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in STOPPING}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
