"""From a stored image to the pixels that a model reads."""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.spec.images import Shape

Pixels = NDArray[np.uint8]
LARGEST = 1 << 26
"""Pixels of an image, at most: a small file may claim any number of them, and decoding fills memory with them."""


def image_bytes(value: Any) -> bytes:
    """What an image or a recording is known by: its file's bytes, or its pixels'. Raises ValueError."""
    if isinstance(value, dict):  # as the `datasets` library stores it
        value = value.get("bytes")
        if value is None:
            raise ValueError("the row names a file and does not hold it; embed the files in the data set")
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        return value.tobytes()
    raise ValueError(f"an image was expected, not {type(value).__name__}")


def decode_image(value: Any, shape: Shape) -> Pixels:
    """An image as uint8 (channels, height, width): its shorter side resized, its middle cut out.

    `value` is an encoded file in bytes, a `datasets` image of bytes, or an array (height, width) or
    (height, width, 3) of uint8. Raises ValueError for what can't be read, ImportError without Pillow.
    """
    channels, height, width = shape
    if isinstance(value, np.ndarray) and channels == 1 and value.shape == (height, width):
        return value[None]
    from PIL import Image, ImageOps

    try:
        if isinstance(value, np.ndarray):
            image: Image.Image = Image.fromarray(value)
        else:
            opened = Image.open(io.BytesIO(image_bytes(value)))
            if opened.width * opened.height > LARGEST:
                raise ValueError(f"{opened.width} by {opened.height} pixels are more than {LARGEST:,}")
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            # Bicubic enlarges without blocks and, with Pillow's support, averages when it shrinks.
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        ArithmeticError,
        LookupError,
        TypeError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:  # Pillow's decoders tell of spoiled bytes by any of these
        reason = str(error).split("<_io", 1)[0].strip() or type(error).__name__
        raise ValueError(f"not an image that can be read: {reason}") from error
    array = np.asarray(image, np.uint8)
    return np.ascontiguousarray(array[None] if channels == 1 else array.transpose(2, 0, 1))
