"""Signs of life of a run's ranks, one small file each."""

import os
import socket
import time

from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.errors import BadFile
from toolkit.store.runs import RunFolder


class Record(BaseModel):
    """Unknown fields are passed over, so that an older tk reads the files of a newer one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Heartbeat(Record):
    """The last sign of life of a rank."""

    rank: int
    step: int
    phase: str
    time: float
    """Unix seconds, by the clock of the rank's host."""
    pid: int
    host: str
    patience: float | None = None
    """Seconds without another sign after which the rank hangs; None where nobody can say."""


def beat(run: RunFolder, step: int, phase: str, rank: int = 0, patience: float | None = None) -> None:
    """Give a sign of life. Under a millisecond: call it every second or so, in long phases too."""
    heartbeat = Heartbeat(
        rank=rank,
        step=step,
        phase=phase,
        time=time.time(),
        pid=os.getpid(),
        host=socket.gethostname(),
        patience=patience,
    )
    path = run.heartbeat / f"rank-{rank}.json"
    write_atomic(path, to_json(heartbeat.model_dump()) + b"\n", durable=False)


def read_heartbeats(run: RunFolder) -> list[Heartbeat]:
    """The last heartbeat of each rank, by rank; an unreadable one is no sign of life."""
    heartbeats = []
    for path in run.heartbeat.glob("rank-*.json"):
        try:
            heartbeats.append(Heartbeat.model_validate(read_json(path)))
        except (FileNotFoundError, BadFile, ValidationError):
            continue
    return sorted(heartbeats, key=lambda heartbeat: heartbeat.rank)


def last_sign(run: RunFolder) -> float:
    """Unix seconds of the newest heartbeat; 0 without one."""
    return max((heartbeat.time for heartbeat in read_heartbeats(run)), default=0.0)
