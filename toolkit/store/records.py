"""The records of an event file: found fast, and found again behind damage.

Records of one length follow each other in long runs, so that one comparison of arrays frames them all.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.store.crc32c import byte_table, masked_crc32c

HEADER = 12
"""Bytes before a payload: its length and the checksum of that."""
FOOTER = 4
"""Bytes after a payload: its checksum."""
LONGEST = 1 << 30
"""Bytes: no event is longer; a header that says so is damage."""
_WINDOW = 64


class Run(NamedTuple):
    """`records` records of one payload `length`, end to end, the first beginning at `at`."""

    at: int
    length: int
    records: int


def frame(data: bytes) -> tuple[list[Run], int]:
    """The sound records in `data`, and how many bytes are done with: the rest waits for more to come."""
    runs: list[Run] = []
    sound: set[bytes] = set()
    at, size = 0, len(data)
    while at + HEADER <= size:
        header = data[at : at + HEADER]
        length = int.from_bytes(header[:8], "little")
        if header not in sound:
            if length > LONGEST or masked_crc32c(header[:8], seldom=True) != header[8:]:
                at = _next_header(data, at + 1) or max(at + 1, size - HEADER + 1)
                continue
            sound.add(header)
        stride = HEADER + length + FOOTER
        if at + stride > size:
            # Either its end is still to come, or it never came and another record follows.
            torn = _next_header(data, at + HEADER)
            if torn is None:
                break
            at = torn
            continue
        count = _count(data, at, stride, header)
        last = at + (count - 1) * stride
        after = data[last + stride : last + stride + HEADER]
        # A sound header behind a record shows that its length was all written. Without one its checksum must.
        whole = len(after) == HEADER and (
            after in sound or masked_crc32c(after[:8], seldom=True) == after[8:]
        )
        if whole or _intact(data, last, length):
            runs.append(Run(at, length, count))
            at = last + stride
        else:
            if count > 1:
                runs.append(Run(at, length, count - 1))
            at = _next_header(data, last + HEADER) or last + stride
    return runs, at


def _count(data: bytes, at: int, stride: int, header: bytes) -> int:
    """How many whole records with this header follow each other from `at`, itself included."""
    if data[at + stride : at + stride + HEADER] != header:
        return 1
    possible = (len(data) - at) // stride
    wanted = np.frombuffer(header, np.uint8)
    count, window = 1, _WINDOW
    while count < possible:
        take = min(window, possible - count)
        rows = np.frombuffer(data, np.uint8, take * stride, at + count * stride).reshape(take, stride)
        equal = (rows[:, :HEADER] == wanted).all(axis=1)
        if not equal.all():
            return count + int(equal.argmin())
        count += take
        window *= 4
    return count


def _intact(data: bytes, at: int, length: int) -> bool:
    payload = data[at + HEADER : at + HEADER + length]
    end = at + HEADER + length
    return masked_crc32c(payload, seldom=True) == data[end : end + FOOTER]


def _next_header(data: bytes, at: int) -> int | None:
    """The first place from `at` on whose 12 bytes are a sound header; None if there is none yet."""
    size = len(data) - at - HEADER + 1
    if size <= 0:
        return None
    view = np.frombuffer(data, np.uint8, offset=at)
    places = np.flatnonzero(
        (view[4 : size + 4] | view[5 : size + 5] | view[6 : size + 6] | view[7 : size + 7]) == 0
    )
    if not len(places):
        return None
    table = _pairs()
    crc = np.full(len(places), 0xFFFFFFFF, np.uint32)
    for pair in range(0, 8, 2):
        two = view[places + pair].astype(np.uint32) | view[places + pair + 1].astype(np.uint32) << np.uint32(
            8
        )
        crc = table[(crc ^ two) & 0xFFFF] ^ (crc >> np.uint32(16))
    crc = ~crc
    masked = (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)
    written = sum(view[places + 8 + byte].astype(np.uint32) << np.uint32(8 * byte) for byte in range(4))
    hits = places[masked == written]
    return at + int(hits[0]) if len(hits) else None


@cache
def _pairs() -> NDArray[np.uint32]:
    """What two bytes, read as a little-endian number, leave of themselves in the CRC."""
    single = np.array(byte_table(), np.uint32)
    after = single[single & 0xFF] ^ single >> np.uint32(8)
    pairs: NDArray[np.uint32] = after[None, :] ^ single[:, None]
    return pairs.reshape(-1)
