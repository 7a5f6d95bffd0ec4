"""Carries out attempts at one job, each in a forked child:

    python attempts.py JOB.json SEED SIGNALS LONGEST SIGNAL

The first SIGNALS attempts get SIGNAL at a random moment of their first LONGEST seconds. Prints a line per
attempt, `killed` or the exit status. Forking after the imports makes an attempt cheap; nothing is computed
before the fork.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from toolkit.engine.interrupts import Interrupts
from toolkit.engine.job import Job


def attempt(job: Job) -> int:
    """The child's part."""
    import torch

    from toolkit.engine.worker import work

    torch.set_num_threads(1)
    interrupts = Interrupts()
    interrupts.install()
    return work(job, interrupts)


def main() -> None:
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    rng = random.Random(int(sys.argv[2]))
    kills, longest, number = int(sys.argv[3]), float(sys.argv[4]), signal.Signals[sys.argv[5]]
    import toolkit.engine.attempt  # noqa: F401 - imported once, before the forks

    while True:
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)
            status = 1
            try:
                status = attempt(job)
            finally:
                sys.stdout.flush()
                os._exit(status)
        signalled = kills > 0
        if signalled:
            time.sleep(rng.uniform(0.02, longest))
            os.kill(child, number)
            kills -= 1
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status), flush=True)
        if not signalled:
            return


if __name__ == "__main__":
    main()
