"""Decoding `Event` messages of `event.proto` without protobuf, many at a time.

The events of a run of records differ in little but step, time and values. Where the first one keeps these is
found by reading it; then the run is one array of bytes and its columns are the series.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.store.records import FOOTER, HEADER, Run, frame
from toolkit.store.tfevents import START

_WINDOW = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Where, from the beginning of a payload, an event keeps what readers want; -1 where it has none."""

    wall_at: int
    step_at: int
    step_bytes: int
    tags: tuple[str, ...]
    value_at: tuple[int, ...]
    value_type: tuple[str, ...]
    """NumPy's `<f4`, or `<f8` for what TensorFlow wrote in double precision."""
    starts: bool
    """Whether it is a SessionLog.START."""


@dataclass(frozen=True, slots=True)
class Block:
    """Events of one layout: steps (n,), Unix times (n,), values (n, tags)."""

    tags: tuple[str, ...]
    steps: NDArray[np.int64]
    wall: NDArray[np.float64]
    values: NDArray[np.float32]
    starts: bool


def read_blocks(data: bytes) -> tuple[list[Block], int]:
    """The events of the whole records in `data`, in order, and how many bytes are done with.

    Torn or damaged records are passed over, up to the next sound one.
    """
    runs, done = frame(data)
    with np.errstate(over="ignore"):  # a double too large for float32 is infinite
        return [block for run in runs for block in _decode(data, run)], done


def _decode(data: bytes, run: Run) -> Iterator[Block]:
    at, left = run.at, run.records
    stride = HEADER + run.length + FOOTER
    while left:
        start = at + HEADER
        try:
            layout = parse(data, start, start + run.length)
        except (IndexError, ValueError):
            at, left = at + stride, left - 1
            continue
        count = 1
        if left > 1:
            rows = np.frombuffer(data, np.uint8, left * stride, at).reshape(left, stride)[:, HEADER:-FOOTER]
            # An event with a tag twice stays alone: side by side its columns would lose their order.
            count = _alike(rows, layout) if len(set(layout.tags)) == len(layout.tags) else 1
            if layout.starts or layout.tags:
                yield _columns(rows[:count], layout)
        elif layout.starts or layout.tags:
            yield _single(data, start, layout)
        at, left = at + count * stride, left - count


def _alike(rows: NDArray[np.uint8], layout: Layout) -> int:
    """How many rows from the first on have its layout and tags."""
    fixed = np.full(rows.shape[1], 0xFF, np.uint8)
    if layout.wall_at >= 0:
        fixed[layout.wall_at : layout.wall_at + 8] = 0
    if layout.step_at >= 0:
        fixed[layout.step_at : layout.step_at + layout.step_bytes] = 0x80
    for place, kind in zip(layout.value_at, layout.value_type, strict=True):
        fixed[place : place + int(kind[2])] = 0
    count, window = 1, _WINDOW
    while count < len(rows):
        equal = (((rows[count : count + window] ^ rows[0]) & fixed) == 0).all(axis=1)
        if not equal.all():
            return count + int(equal.argmin())
        count += len(equal)
        window *= 4
    return count


def _columns(rows: NDArray[np.uint8], layout: Layout) -> Block:
    count = len(rows)
    steps = np.zeros(count, np.uint64)
    for byte in range(layout.step_bytes):
        part = (rows[:, layout.step_at + byte] & 0x7F).astype(np.uint64)
        steps |= part << np.uint64(7 * byte)
    wall = np.zeros(count)
    if layout.wall_at >= 0:
        wall = np.ascontiguousarray(rows[:, layout.wall_at : layout.wall_at + 8]).view("<f8")[:, 0]
    values = np.empty((count, len(layout.tags)), np.float32)
    for index, (place, kind) in enumerate(zip(layout.value_at, layout.value_type, strict=True)):
        values[:, index] = np.ascontiguousarray(rows[:, place : place + int(kind[2])]).view(kind)[:, 0]
    return Block(layout.tags, steps.view(np.int64), wall, values, layout.starts)


def _single(data: bytes, start: int, layout: Layout) -> Block:
    step, _ = _varint(data, start + layout.step_at) if layout.step_at >= 0 else (0, 0)
    wall = struct.unpack_from("<d", data, start + layout.wall_at)[0] if layout.wall_at >= 0 else 0.0
    values = [
        np.frombuffer(data, kind, 1, start + place)[0]
        for place, kind in zip(layout.value_at, layout.value_type, strict=True)
    ]
    signed = step - (1 << 64) if step >= 1 << 63 else step
    return Block(
        layout.tags,
        np.array([signed], np.int64),
        np.array([wall]),
        np.array([values], np.float32),
        layout.starts,
    )


def parse(data: bytes, start: int, end: int) -> Layout:
    """The layout of the `Event` between `start` and `end`. Raises ValueError or IndexError if it is none."""
    wall_at = step_at = -1
    step_bytes = 0
    starts = False
    values: list[tuple[str, int, str]] = []
    for number, kind, at, until in _fields(data, start, end):
        if number == 1 and kind == 1:
            wall_at = at - start
        elif number == 2 and kind == 0:
            step_at, step_bytes = at - start, until - at
        elif number == 5 and kind == 2:
            for inner, inner_kind, value, value_end in _fields(data, at, until):
                if inner == 1 and inner_kind == 2 and (scalar := _scalar(data, value, value_end)):
                    values.append(scalar)
        elif number == 7 and kind == 2:
            for inner, inner_kind, value, _ in _fields(data, at, until):
                starts = starts or (inner == 1 and inner_kind == 0 and data[value] == START)
    tags = tuple(tag for tag, _, _ in values)
    places = tuple(place - start for _, place, _ in values)
    return Layout(wall_at, step_at, step_bytes, tags, places, tuple(kind for _, _, kind in values), starts)


def _scalar(data: bytes, at: int, end: int) -> tuple[str, int, str] | None:
    """Tag, place and type of the `Summary.Value` between `at` and `end` if it is a scalar."""
    tag, place, tensor, plugin = None, None, None, b""
    for number, kind, value, until in _fields(data, at, end):
        if number == 1 and kind == 2:
            tag = data[value:until].decode()
        elif number == 2 and kind == 5:
            place = value
        elif number == 8 and kind == 2:
            tensor = value, until
        elif number == 9 and kind == 2:
            plugin = _plugin(data, value, until)
    if tag is not None and place is not None:
        return tag, place, "<f4"
    if tag is None or tensor is None or plugin != b"scalars":
        return None
    found = _tensor(data, *tensor)
    return (tag, *found) if found else None


def _plugin(data: bytes, at: int, end: int) -> bytes:
    """The plugin's name in the `SummaryMetadata` between `at` and `end`."""
    for number, kind, value, until in _fields(data, at, end):
        if number == 1 and kind == 2:
            for inner, inner_kind, name, name_end in _fields(data, value, until):
                if inner == 1 and inner_kind == 2:
                    return data[name:name_end]
    return b""


def _tensor(data: bytes, at: int, end: int) -> tuple[int, str] | None:
    """Place and type of the only element of the `TensorProto` there, as TensorFlow 2 writes scalars."""
    sizes = {1: 4, 2: 8}  # DT_FLOAT and DT_DOUBLE
    dtype = 0
    for number, kind, value, until in _fields(data, at, end):
        if number == 1 and kind == 0:
            dtype = data[value]
        elif number in (4, 5, 6) and kind in (1, 2, 5) and until - value == sizes.get(dtype):
            return value, f"<f{sizes[dtype]}"
    return None


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, wire type, and where the value begins and ends."""
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        begin = at
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, begin = _varint(data, at)
            at = begin + length
        elif kind == 5:
            at += 4
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field that leaves its message")
        yield number, kind, begin, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    shift = 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + 1
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
