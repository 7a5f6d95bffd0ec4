"""How `tk run` is spread over ranks, by its options or by the torchrun that started it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.engine.job import Job


def launch_of(nproc: int, nodes: int, rendezvous: str | None, max_restarts: int) -> "Callable[[Job], Job]":
    """What gives a job its ranks. Raises BadInput, and PlanError where `run.parallel` asks for others."""
    from toolkit.cli.errors import BadInput
    from toolkit.engine.job import Launch
    from toolkit.plan.division import degrees

    if nodes > 1 and rendezvous is None:
        raise BadInput("--nodes needs --rendezvous HOST:PORT: one of the machines, and a port free there.")

    def launched(job: "Job") -> "Job":
        if not job.divisible:
            return job.model_copy(update={"launch": Launch(max_restarts=max_restarts)})
        world = nproc * nodes if nproc * nodes > 1 else int(os.environ.get("WORLD_SIZE", "1"))
        degrees(job.spec.run.parallel, world)
        least = job.spec.run.parallel.min_nodes
        launch = Launch(
            nproc=nproc,
            nodes=nodes,
            rendezvous=rendezvous,
            min_nodes=min(least, nodes) if least else None,
            max_restarts=max_restarts,
        )
        return job.model_copy(update={"launch": launch})

    return launched


@contextmanager
def as_one_rank() -> Iterator[bool]:
    """Whether this is the first of torchrun's ranks; the others print nothing meanwhile."""
    first = os.environ.get("RANK", "0") == "0"
    if first:
        yield True
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield False
