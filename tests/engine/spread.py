"""Carries out jobs one after the other, each by several ranks that are forked children: `python spread.py`

A line of standard input is [job, ranks, step]: at that step, if there is one, the last rank asks to stop. Prints a line
a job, the exit statuses of its ranks. Forking after the imports makes a rank cheap; nothing is computed before.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from toolkit.engine import worker
from toolkit.engine.job import JOB_FILE
from toolkit.engine.loop import Loop


def carry_out(job: Path, world: int, step: int | None) -> list[int]:
    """Exit statuses, by rank."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = [fork(lambda rank=rank: attempt(job, rank, world, port, step)) for rank in range(world)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def fork(work: Callable[[], int]) -> int:
    """The pid of a child that does the work and exits with its status."""
    child = os.fork()
    if child:
        return child
    os.dup2(2, 1)
    status = 1
    try:
        status = work()
    except BaseException:  # noqa: BLE001 - a child of a fork must not go on in its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def attempt(job: Path, rank: int, world: int, port: int, step: int | None) -> int:
    """A rank's part."""
    import torch

    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", JOB_FILE: str(job)}
    if rank == world - 1:
        stop_at(step)
    return worker.main()


def stop_at(step: int | None) -> None:
    train = Loop._train

    def train_and_ask(self: Loop, ready: Iterator[object]) -> None:
        train(self, ready)  # type: ignore[arg-type]
        if self.state.step == step:
            self.interrupts.ask("the test")

    Loop._train = train_and_ask  # type: ignore[method-assign]


if __name__ == "__main__":
    import toolkit.engine.attempt  # noqa: F401 - imported once, before the forks

    worker.die_with_parent()
    for line in sys.stdin:
        job, world, step = json.loads(line)
        print(*carry_out(Path(job), world, step), flush=True)
