"""More processes that prepare a corpus of text beside this one: `python -m toolkit.engine.preparing`, with what to do
on standard input."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolkit.data.crew import Crew
from toolkit.data.errors import DataError
from toolkit.data.prepare import prepare
from toolkit.data.shared import SharedCache
from toolkit.engine.interrupts import EXIT_BAD_INPUT, EXIT_FINISHED
from toolkit.engine.worker import PARENT, die_with_parent
from toolkit.plan.corpus import read_facts
from toolkit.spec.data import Data
from toolkit.spec.spec import Spec


class Task(BaseModel):
    """What a process prepares, and its place in the crew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Data
    shards: str | None
    cache: Path | None
    index: int
    count: int


@contextmanager
def helped(spec: Spec, rank: int, world: int, cache: Path | None) -> Iterator[Crew]:
    """This process's place in the crew, with `run.tokenise_processes` - 1 others at work until it has done. Without
    work to do there are none."""
    each = spec.run.tokenise_processes
    count = world * each
    places = range(rank * each, (rank + 1) * each)
    others = [
        Task(data=spec.data, shards=spec.run.shards, cache=cache, index=index, count=count)
        for index in places[1:]
        if read_facts(spec.data, cache=cache) is None
    ]
    processes = [_start(task) for task in others]
    try:
        yield Crew(places[0], count)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(task: Task) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        env={**os.environ, PARENT: str(os.getpid())},
    )
    assert process.stdin is not None
    process.stdin.write(task.model_dump_json().encode())
    process.stdin.close()
    return process


def main() -> int:
    """Prepare what stands on standard input; the exit status."""
    die_with_parent()
    task = Task.model_validate_json(sys.stdin.buffer.read())
    try:
        shared = SharedCache(task.shards) if task.shards else None
        prepare(task.data, cache=task.cache, shared=shared, crew=Crew(task.index, task.count))
    except DataError:
        return EXIT_BAD_INPUT  # who started this one meets the same, and tells it
    return EXIT_FINISHED


if __name__ == "__main__":
    os._exit(main())
