"""Requests to a run: files that a user, the dashboard or a batch system drops into its `requests` folder."""

import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.errors import BadFile
from toolkit.store.events import append_event
from toolkit.store.runs import RunFolder, require_run

Kind = Literal["stop", "checkpoint"]
_FILE = re.compile(rf"({'|'.join(get_args(Kind))})(-[0-9a-f]+)?(\.json)?")


@dataclass(frozen=True)
class Request:
    """What is asked of the run, by whom, and when in Unix seconds."""

    kind: Kind
    by: str
    time: float
    path: Path


def ask(run: RunFolder, kind: Kind, by: str = "user") -> Request:
    """Ask the run to stop with its work saved, or to checkpoint now. Raises UnknownRun.

    `touch requests/stop` in the run's folder does the same without tk.
    """
    require_run(run)
    run.requests.mkdir(exist_ok=True)
    request = Request(kind, by, round(time.time(), 3), run.requests / f"{kind}-{secrets.token_hex(4)}.json")
    write_atomic(request.path, to_json({"kind": kind, "by": by, "time": request.time}) + b"\n")
    return request


def pending(run: RunFolder) -> list[Request]:
    """Requests not yet acknowledged, oldest first. Some 20 µs when there are none: ask at every step.

    Files of other users are passed over, and so are links.
    """
    try:
        with os.scandir(run.requests) as entries:
            found = [entry for entry in entries if _FILE.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    requests = [request for entry in found if (request := _read(Path(entry.path)))]
    return sorted(requests, key=lambda request: request.time)


def acknowledge(run: RunFolder, request: Request) -> None:
    """Note in the run's events that the request was taken up, and remove it."""
    append_event(run, "request", asks=request.kind, by=request.by)
    request.path.unlink(missing_ok=True)


def clear(run: RunFolder) -> None:
    """Drop what was asked of an earlier attempt: a new one should not stop because of it."""
    for request in pending(run):
        request.path.unlink(missing_ok=True)


def _read(path: Path) -> Request | None:
    match = _FILE.fullmatch(path.name)
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None
    if match is None or not stat.S_ISREG(info.st_mode) or info.st_uid not in (os.getuid(), 0):
        return None
    try:
        by = str(read_json(path, limit=4096).get("by", "a file"))
    except FileNotFoundError:
        return None
    except BadFile:
        by = "a file"
    return Request(cast(Kind, match[1]), by, info.st_mtime, path)
