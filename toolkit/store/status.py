"""Where a run stands: what it last said of itself. `health` tells whether anyone is still behind that."""

import os
import socket
import time
from typing import Literal

from pydantic import Field, ValidationError

from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.errors import BadFile
from toolkit.store.heartbeat import Record
from toolkit.store.runs import RunFolder

State = Literal["preparing", "running", "stopped", "failed", "finished"]


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


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
