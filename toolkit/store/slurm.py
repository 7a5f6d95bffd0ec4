"""Runs handed to SLURM: which job carries a run out, and what SLURM says of it."""

import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.errors import BadFile
from toolkit.store.heartbeat import Record
from toolkit.store.runs import RunFolder

SECONDS = 10.0
"""To wait for an answer of SLURM."""
WAITING = (
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
)
OVER = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)


class Submission(Record):
    """`submit.json` in a run's folder."""

    job: int
    script: str
    time: float
    """Unix seconds."""


@dataclass(frozen=True)
class Queued:
    """What SLURM says of a job."""

    job: int
    state: str
    """SLURM's word: PENDING, RUNNING, …"""
    restarts: int
    reason: str

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def word(self) -> str:
        """`queued`, `requeued`, or SLURM's own word in small letters."""
        if self.waiting:
            return "requeued" if self.restarts else "queued"
        return self.state.lower()


def write_submission(run: RunFolder, job: int, script: str) -> None:
    """Note the job of a run."""
    fields = Submission(job=job, script=script, time=round(time.time(), 3)).model_dump()
    write_atomic(run.submission, to_json(fields) + b"\n")


def read_submission(run: RunFolder) -> Submission | None:
    """The last job of a run; None for a run that was never submitted."""
    try:
        return Submission.model_validate(read_json(run.submission))
    except (FileNotFoundError, BadFile, ValidationError):
        return None


def queued(runs: Iterable[RunFolder]) -> Mapping[RunFolder, Queued]:
    """What SLURM says of those runs whose job it still knows as waiting or running. Asks once for all; empty
    where there is no SLURM, or it doesn't answer."""
    jobs = {run: found.job for run in runs if (found := read_submission(run))}
    if not jobs or shutil.which("squeue") is None:
        return {}
    # A job that SLURM has forgotten fails a query by number, so all of the user's are asked for.
    asked = ["squeue", "--me", "--noheader", "--array", "-O", "JobID:20,State:20,RestartCnt:10,Reason:60"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return {}
    known: dict[int, Queued] = {}
    for line in answer.splitlines():
        fields = line.split(maxsplit=3)
        if len(fields) >= 3 and fields[0].isdigit() and fields[2].isdigit() and fields[1] not in OVER:
            reason = fields[3].strip() if len(fields) > 3 else ""
            known[int(fields[0])] = Queued(int(fields[0]), fields[1], int(fields[2]), reason)
    return {run: known[job] for run, job in jobs.items() if job in known}
