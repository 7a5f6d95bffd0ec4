"""The process that does the work: `python -m toolkit.engine.worker`, with a job on standard input."""

import os
import signal
import sys
import traceback

from toolkit.engine.interrupts import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_STOPPED, Interrupts
from toolkit.engine.job import Job


def die_with_parent() -> None:
    """Have Linux kill this process when its supervisor is killed: an orphan would go on writing the run."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)


def main() -> int:
    """Carry out the job on standard input; the exit status."""
    parent = os.getppid()
    die_with_parent()
    if os.getppid() != parent:
        return EXIT_FAILED
    interrupts = Interrupts()
    interrupts.install()
    return work(Job.model_validate_json(sys.stdin.buffer.read()), interrupts)


def work(job: Job, interrupts: Interrupts) -> int:
    """Exit status: 0 finished, 75 stopped with the work saved, 1 failed, 2 bad input; errors are printed."""
    from toolkit.data.errors import DataError, PreparationStopped
    from toolkit.engine.errors import StageError
    from toolkit.plan.errors import PlanError
    from toolkit.store.errors import StoreError

    try:
        return _act(job, interrupts)
    except (DataError, PlanError, StageError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if os.environ.get("TK_DEBUG"):
            traceback.print_exc()
        return EXIT_FAILED if isinstance(error, StoreError) else EXIT_BAD_INPUT
    except PreparationStopped as error:
        print(error)
        return EXIT_STOPPED


def _act(job: Job, interrupts: Interrupts) -> int:
    match job.action:
        case "run":
            from toolkit.engine.stage import carry_out

            return carry_out(job, interrupts)
        case "probe":
            from toolkit.engine.probe import probe

            return probe(job, interrupts)
        case "replay":
            from toolkit.engine.replay import replay

            return replay(job.run, interrupts)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries with threads of their own can abort on the way out of a process that has done its work.
    os._exit(status)
