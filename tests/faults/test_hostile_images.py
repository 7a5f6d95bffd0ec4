"""Images that somebody else wrote: spoiled, cut short, or claiming to be huge."""

import io
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toolkit.data.encoders import ImageEncoder

BOUNDED = settings(max_examples=60, deadline=None)


def images() -> dict[str, bytes]:
    """Whole files of the formats that are read."""
    found = {}
    for form in ("png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm"):
        file = io.BytesIO()
        Image.effect_noise((9, 7), 60).convert("RGB").save(file, form)
        found[form] = file.getvalue()
    return found


def png(width: int, height: int, *, body: bytes = b"") -> bytes:
    """A PNG whose header claims a size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm"])
def test_an_image_of_spoiled_bytes_is_read_or_refused(name: str) -> None:
    whole, encoder = images()[name], ImageEncoder((3, 8, 8))

    @given(
        st.integers(0, len(whole)),
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), max_size=4),
    )
    @BOUNDED
    def check(length: int, flips: list[tuple[int, int]]) -> None:
        spoiled = bytearray(whole)
        for place, bits in flips:
            spoiled[place] ^= bits
        for data in (bytes(spoiled), bytes(spoiled[:length])):
            try:
                pixels = encoder.encode([data]).fields["inputs"]
            except ValueError:
                continue
            assert pixels.shape == (3, 8, 8)

    check()


@pytest.mark.parametrize(
    "data",
    [
        png(2**31 - 1, 2**31 - 1),
        png(60_000, 60_000, body=zlib.compress(bytes(60_001 * 60), 9)),
        png(13_000, 13_000, body=zlib.compress(bytes(13_001 * 13_000), 9)),
        png(0, 0),
        png(1, 2**31 - 1),
        b"P6 99999 99999 255\n",
        b"P5 -1 -1 255\n",
        b"BM" + struct.pack("<IHHIIiiHHI", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0) + bytes(24),
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(30),
    ],
    ids=["huge", "60000", "bomb", "empty", "tall", "ppm", "negative", "bmp", "gif"],
)
def test_an_image_that_claims_to_be_huge_takes_no_memory(data: bytes) -> None:
    code = (
        "import resource, sys; import numpy; from PIL import Image, ImageOps; Image.init()\n"
        "from toolkit.data.images.pixels import decode_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: decode_image(sys.stdin.buffer.read(), (3, 8, 8))\n"
        "except ValueError as error: print(error)\n"
        "else: print('read')\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]
    said, grown = done.stdout.decode().splitlines()
    assert said.startswith("not an image that can be read")
    assert int(grown) < 60, f"{grown} MiB"
