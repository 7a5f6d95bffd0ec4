"""Where a run stands: what it last said of itself, and whether anyone is still behind that."""

import os
import socket
import time
from typing import Literal

from pydantic import Field, ValidationError

from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.errors import BadFile
from toolkit.store.heartbeat import Record, last_sign
from toolkit.store.lease import read_holder
from toolkit.store.runs import RunFolder

State = Literal["preparing", "running", "stopped", "failed", "finished"]
SILENCE = 300.0
"""Seconds without a heartbeat after which a process on another host counts as gone."""


class Best(Record):
    """The best evaluation so far."""

    metric: str
    value: float
    step: int


class Status(Record):
    """What a run last said of itself."""

    state: State
    step: int = 0
    steps: int | None = None
    attempt: int = 1
    reason: str | None = None
    time: float = Field(default_factory=time.time)
    """Unix seconds."""
    pid: int = Field(default_factory=os.getpid)
    host: str = Field(default_factory=socket.gethostname)
    metrics: dict[str, float] = Field(default_factory=dict)
    """The last value of each metric."""
    best: Best | None = None


def write_status(run: RunFolder, status: Status) -> None:
    """Replace the run's status atomically; durably too unless it only says that the run goes on."""
    write_atomic(run.status, to_json(status.model_dump()) + b"\n", durable=status.state != "running")


def read_status(run: RunFolder) -> Status | None:
    """The run's status; None before its first, or where a power loss left it blank. Raises BadFile."""
    try:
        return Status.model_validate(read_json(run.status))
    except FileNotFoundError:
        return None
    except BadFile:
        if run.status.read_bytes().strip(b"\0"):
            raise
        return None
    except ValidationError as error:
        raise BadFile(run.status, _first_problem(error)) from error


def run_state(run: RunFolder) -> State | Literal["dead", "empty"]:
    """The state in the status, but `dead` if that says the run goes on and its holder is gone;
    `empty` without a status. A holder on another host is judged by its heartbeat. Raises BadFile."""
    status = read_status(run)
    if status is None:
        return "empty"
    if status.state not in ("preparing", "running"):
        return status.state
    holder = read_holder(run)
    if holder is None:
        # The lease may have been let go between the two readings, with the status finished before it.
        again = read_status(run)
        return again.state if again and again.state not in ("preparing", "running") else "dead"
    alive = holder.process.alive()
    if alive is None:
        alive = time.time() - max(last_sign(run), holder.since, status.time) < SILENCE
    return status.state if alive else "dead"


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
