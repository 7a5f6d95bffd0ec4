"""CRC-32C (Castagnoli, RFC 3720 B.4), two bytes at a time, and the mask TensorFlow's records put on it."""

import struct
from functools import cache

POLYNOMIAL = 0x82F63B78
"""Bit-reversed."""
LONG = 64 * 1024
"""Bytes for which the table of pairs is worth making."""


def crc32c(data: bytes) -> int:
    """CRC-32C of the data, about 50 ns a byte."""
    table = _pair_table()
    crc = 0xFFFFFFFF
    for pair in struct.unpack_from(f"<{len(data) // 2}H", data):
        crc = table[(crc ^ pair) & 0xFFFF] ^ (crc >> 16)
    if len(data) & 1:
        crc = byte_table()[(crc ^ data[-1]) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes, *, seldom: bool = False) -> bytes:
    """The CRC as it stands in a record: rotated and offset, so that a CRC of CRCs stays sound.

    For those who want it `seldom`, a byte at a time: the table of pairs takes 3 MB and 10 ms to make.
    """
    crc = _crc32c_bytewise(data) if seldom and len(data) < LONG else crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc32c_bytewise(data: bytes) -> int:
    table = byte_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def byte_table() -> list[int]:
    """What a byte leaves of itself in the CRC."""
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL if crc & 1 else crc >> 1
        table.append(crc)
    return table


@cache
def _pair_table() -> list[int]:
    """What two bytes, read as a little-endian number, leave of themselves in the CRC."""
    single = byte_table()
    after = [single[crc & 0xFF] ^ crc >> 8 for crc in single]
    return [after[low] ^ single[high] for high in range(256) for low in range(256)]
