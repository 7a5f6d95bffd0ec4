"""A run's life and lineage, one JSON object a line: created, started, checkpoint, resumed, finished …"""

import json
import time
from typing import Any

from toolkit.store.atomic import append_line
from toolkit.store.runs import RunFolder


def append_event(run: RunFolder, kind: str, **fields: object) -> None:
    """Append an event with its `kind`, its `time` in Unix seconds, and the fields; durable on return."""
    append_line(run.events, {**fields, "kind": kind, "time": round(time.time(), 3)}, durable=True)


def read_events(run: RunFolder) -> list[dict[str, Any]]:
    """Every whole event, oldest first. What a crash tore is passed over."""
    try:
        lines = run.events.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    events = []
    for line in lines[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "kind" in event:
            events.append(event)
    return events
