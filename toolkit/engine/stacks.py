"""Where every thread of a rank stands, written into the run's folder when it is asked for."""

import faulthandler
import signal

from toolkit.store.runs import RunFolder

ASK = signal.SIGUSR2
"""Has a rank write down its stacks. It works while Python waits in other code, such as an exchange."""


def show_stacks_on_request(run: RunFolder, attempt: int, rank: int) -> None:
    """From now on `ASK` writes the stacks of this process to `stacks/attempt-N-rank-R.txt`."""
    run.stacks.mkdir(exist_ok=True)
    # The handler keeps the file for as long as the process lives.
    file = (run.stacks / f"attempt-{attempt}-rank-{rank}.txt").open("a", encoding="utf-8")
    faulthandler.register(ASK, file=file, all_threads=True)
