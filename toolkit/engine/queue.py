"""Many short jobs in one process, `python -m toolkit.engine.queue`: what a process takes to start is paid once."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from pydantic import TypeAdapter

from toolkit.engine.interrupts import EXIT_FAILED, EXIT_FINISHED, EXIT_STOPPED, Interrupts
from toolkit.engine.job import Job
from toolkit.engine.supervisor import _passing_signals_to, worker_environment
from toolkit.engine.worker import die_with_parent, work

JOBS = TypeAdapter(list[Job])
FAILURES = 3
"""Jobs in a row that may fail before the rest is given up: a full disk fails them all."""


def supervise_queue(jobs: Sequence[Job]) -> int:
    """Carry out jobs one after another in a process of their own; its exit status, 1 if a signal ended it.

    0 when all are finished; 75 when they were stopped, with the work saved; 1 when some failed, the others being
    finished; 2 for bad input.
    """
    worker = subprocess.Popen(
        [sys.executable, "-m", "toolkit.engine.queue"],
        stdin=subprocess.PIPE,
        env=worker_environment(os.environ),
        start_new_session=True,  # the terminal's Ctrl-C comes once, through here
    )
    with _passing_signals_to(worker):
        assert worker.stdin is not None
        try:
            worker.stdin.write(JOBS.dump_json(list(jobs)))
            worker.stdin.close()
        except BrokenPipeError:
            pass  # it died before it read; its status says the rest
        status = worker.wait()
    return status if status >= 0 else EXIT_FAILED


def work_through(jobs: Sequence[Job], interrupts: Interrupts) -> int:
    """Carry out jobs one after another, telling how far they are; the exit status.

    One that fails doesn't keep the next from its turn; what was stopped or can't be carried out does.
    """
    from toolkit.engine.console import Console
    from toolkit.plan.figures import length_of_time

    taken: list[float] = []
    failures, outcome = 0, EXIT_FINISHED
    with Console() as console:
        console.start_phase("runs", len(jobs))
        for done, job in enumerate(jobs):
            # The first one pays for what is loaded once.
            left = statistics.mean(taken[1:] or taken or [0]) * (len(jobs) - done)
            rest = f", {length_of_time(left)} left" if done else ""
            console.advance(done, f"{done + 1} of {len(jobs)}{rest}: {job.run}")
            begun = time.monotonic()
            status = work(job, interrupts)
            taken.append(time.monotonic() - begun)
            if status not in (EXIT_FINISHED, EXIT_FAILED):
                return status
            failures = failures + 1 if status else 0
            outcome = status or outcome
            if failures == FAILURES:
                break
            if job.quiet:
                console.say(_result(job))
            if interrupts and done + 1 < len(jobs):
                return EXIT_STOPPED
    return outcome


def _result(job: Job) -> str:
    from toolkit.store.status import read_status

    end = read_status(job.run)
    if end is None or end.best is None:
        return f"{job.run}  {end.state if end else 'failed'}"
    return f"{job.run}  {end.best.metric} {end.metrics.get(end.best.metric, end.best.value):.4f}"


def main() -> int:
    """Carry out the jobs on standard input; the exit status."""
    parent = os.getppid()
    die_with_parent()
    if os.getppid() != parent:
        return EXIT_FAILED
    interrupts = Interrupts()
    interrupts.install()
    return work_through(JOBS.validate_json(sys.stdin.buffer.read()), interrupts)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries with threads of their own can abort on the way out of a process that has done its work.
    os._exit(status)
