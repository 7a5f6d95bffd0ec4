"""The process that does the work: `python -m toolkit.engine.worker`, with a job on standard input."""

import os
import signal
import sys
import traceback
from pathlib import Path

from toolkit.engine.interrupts import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_FINISHED, EXIT_STOPPED, Interrupts
from toolkit.engine.job import JOB_FILE, STATUS_FILE, Job
from toolkit.engine.ranks import ALONE, UNDER_AGENT, Ranks

PARENT = "TK_PARENT"
"""Variable that holds the pid of who started this process."""


def die_with_parent() -> None:
    """Have Linux kill this process when its supervisor is killed: an orphan would go on writing the run."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        os._exit(EXIT_FAILED)  # it was gone before


def main() -> int:
    """Carry out the job on standard input; the exit status."""
    die_with_parent()
    interrupts = Interrupts()
    interrupts.install()
    file = os.environ.get(JOB_FILE)
    job = Job.model_validate_json(Path(file).read_bytes() if file else sys.stdin.buffer.read())
    ranks = Ranks.from_environment()
    if not job.divisible:
        if not ranks.first:
            return EXIT_FINISHED
        ranks = ALONE
    ranks.join(str(job.run))
    return _tell_agent(work(job, interrupts, ranks), ranks)


def _tell_agent(status: int, ranks: Ranks) -> int:
    """What to exit with under torchrun's agent, for which everything but 0 is a failure to restart from."""
    if UNDER_AGENT not in os.environ:
        return status
    if ranks.local == 0 and STATUS_FILE in os.environ:
        Path(os.environ[STATUS_FILE]).write_text(str(status))
    return EXIT_FINISHED if status == EXIT_STOPPED else status


def work(job: Job, interrupts: Interrupts, ranks: Ranks = ALONE) -> int:
    """Exit status: 0 finished, 75 stopped with the work saved, 1 failed, 2 bad input; errors are printed."""
    from toolkit.data.errors import DataError, PreparationStopped
    from toolkit.engine.errors import StageError
    from toolkit.plan.errors import PlanError
    from toolkit.store.errors import StoreError

    try:
        status = _act(job, interrupts, ranks)
        ranks.leave()
        return status
    except (DataError, PlanError, StageError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if os.environ.get("TK_DEBUG"):
            traceback.print_exc()
        return EXIT_FAILED if isinstance(error, StoreError) else EXIT_BAD_INPUT
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr, flush=True)
        if os.environ.get("TK_DEBUG"):
            traceback.print_exc()
        return EXIT_FAILED
    except PreparationStopped as error:
        print(error)
        return EXIT_STOPPED


def _act(job: Job, interrupts: Interrupts, ranks: Ranks) -> int:
    if not ranks.first:
        from toolkit.engine.follow import follow

        return follow(job, interrupts, ranks)
    match job.action:
        case "run":
            from toolkit.engine.stage import carry_out

            return carry_out(job, interrupts, ranks)
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
