"""TensorBoard event files, written without TensorBoard.

Records are framed as in TensorFlow's `record_writer.h`: length, masked CRC-32C of the length, payload, masked
CRC-32C of the payload. Payloads are `Event` messages of `event.proto`, encoded here by hand.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from toolkit.store.crc32c import masked_crc32c

FLUSH_SECONDS = 1.0
PENDING_LIMIT = 8 * 1024 * 1024
"""Bytes that wait in memory for a full disk to have room again, before writing gives up."""
START = 1
"""SessionLog.START."""


class EventWriter:
    """The metrics of one attempt of a run, in an event file of its own in `folder`.

    A file is begun for each attempt, because readers lose everything after a torn record. It opens with
    SessionLog.START at `start_step` (0, or the step resumed from): readers then drop what an earlier
    attempt wrote from that step on. Values are float32.
    """

    def __init__(self, folder: Path, start_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._descriptor = _create(folder)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._written = 0
        self._flushed = time.monotonic()
        self._keys: dict[str, bytes] = {}
        self._add(struct.pack("<Bd", 0x09, time.time()) + b"\x1a\x0dbrain.Event:2")
        session = b"\x3a\x02\x08" + bytes([START])
        self._add(struct.pack("<Bd", 0x09, time.time()) + _step(start_step) + session)
        self.flush()

    def scalars(self, step: int, values: Mapping[str, float], wall_time: float | None = None) -> None:
        """Write the values of a step, by tag, as one event. Reaches the file within about a second of the
        next call; `wall_time` is in Unix seconds and now by default."""
        parts = []
        for tag, value in values.items():
            parts.append(self._keys.get(tag) or self._key(tag))
            parts.append(_float32(value))
        self._event(step, b"".join(parts), wall_time)

    def text(self, step: int, tag: str, text: str, wall_time: float | None = None) -> None:
        """Write a text, which TensorBoard shows as Markdown under the tag."""
        plugin = _field(9, _field(1, _field(1, b"text")) + b"\x20\x02")
        tensor = _field(8, b"\x08\x07" + _field(2, _field(2, b"\x08\x01")) + _field(8, text.encode()))
        self._event(step, _field(1, _field(1, tag.encode()) + plugin + tensor), wall_time)

    def image(
        self, step: int, tag: str, png: bytes, width: int, height: int, wall_time: float | None = None
    ) -> None:
        """Write a picture, a PNG of these pixels."""
        size = b"\x08" + _varint(height) + b"\x10" + _varint(width) + b"\x18\x03"
        self._event(step, _field(1, _field(1, tag.encode()) + _field(4, size + _field(4, png))), wall_time)

    def flush(self) -> None:
        """Hand everything to the system. Raises OSError; what is pending then stays pending."""
        data = b"".join(self._pending)
        try:
            done = 0
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError:
            # A torn record would cost readers all that follows it.
            os.ftruncate(self._descriptor, self._written)
            raise
        finally:
            self._flushed = time.monotonic()
        self._written += len(data)
        self._pending.clear()
        self._pending_bytes = 0

    def close(self) -> None:
        """Flush and close the file. Raises OSError if the flush does; the file is closed anyway."""
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _event(self, step: int, summary: bytes, wall_time: float | None) -> None:
        when = time.time() if wall_time is None else wall_time
        self._add(struct.pack("<Bd", 0x09, when) + _step(step) + _field(5, summary))
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            try:
                self.flush()
            except OSError:
                if self._pending_bytes > PENDING_LIMIT:
                    raise

    def _add(self, payload: bytes) -> None:
        length = struct.pack("<Q", len(payload))
        record = length + masked_crc32c(length) + payload + masked_crc32c(payload)
        self._pending.append(record)
        self._pending_bytes += len(record)

    def _key(self, tag: str) -> bytes:
        """What precedes the float of a value with this tag: `Summary.value` with its `tag`."""
        name = _field(1, tag.encode())
        key = b"\x0a" + _varint(len(name) + 5) + name + b"\x15"
        self._keys[tag] = key
        return key


def _create(folder: Path) -> tuple[Path, int]:
    """A new file whose name sorts after those there: readers take the files in the order of their names."""
    stamp = int(time.time())
    for path in folder.glob("events.out.tfevents.*"):
        part = path.name.split(".")[3]
        if part.isdigit():
            stamp = max(stamp, int(part) + 1)
    while True:
        path = folder / f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            return path, os.open(path, flags, 0o666)
        except FileExistsError:
            stamp += 1


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _step(step: int) -> bytes:
    return b"\x10" + _varint(step)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
