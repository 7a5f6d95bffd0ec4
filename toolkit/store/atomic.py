"""Files that are either whole or absent: atomic replacement, single-write appends, strict JSON."""

import contextlib
import fcntl
import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.store.errors import BadFile

JSON_LIMIT = 16 * 1024 * 1024


def sync(descriptor: int) -> None:
    """Wait until the file or folder is on the device, not only on its way there."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        # On macOS fsync stops at the drive's cache. Some file systems there refuse the stronger call.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def fsync_folder(path: Path) -> None:
    """Make the entries of a folder (creations, renames, removals) survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte. A write may stop short, for example when the disk fills."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_new(path: Path, data: bytes) -> None:
    """Create `path` with `data` and sync it. Raises FileExistsError if it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, data)
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`: a reader sees the old file or the new one, never a part.

    With `durable` it survives a power loss too; leave that out for what is rewritten every second.
    """
    beside = temporary(path)
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
            if durable:
                sync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def temporary(path: Path) -> Path:
    """A new name beside `path`, for what will replace it; `remove_temporaries` knows it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left beside their targets. Only the folder's one writer may call this."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def append_line(path: Path, fields: Mapping[str, object], *, durable: bool = False) -> None:
    """Append one JSON object as a line, in one write; a torn last line is closed off first."""
    line = to_json(fields) + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        write_all(descriptor, line)
        if durable:
            sync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8. NaN and infinities become strings, which
    `float()` reads back: a record must not fail because a loss did."""
    return json.dumps(
        _finite(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "backslashreplace")


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """A JSON object, strictly: no NaN, no key twice. `path` is for the error only. Raises BadFile."""
    try:
        value = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is not JSON that can be trusted: {error or 'nested too deep'}") from error
    if not isinstance(value, dict):
        raise BadFile(path, "should hold a JSON object")
    return value


def read_json(path: Path, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """The JSON object in a file of at most `limit` bytes. Raises BadFile, or OSError if unreadable."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BadFile(path, f"is larger than {limit} bytes")
    return parse_json(data, path)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} appears twice")
    return fields
