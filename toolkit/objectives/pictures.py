"""Images side by side, for TensorBoard."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LEAST = 32
"""Pixels below which images are enlarged."""


def table_of(columns: Sequence[Tensor]) -> NDArray[np.uint8]:
    """One picture (height, width, 3): each of `columns` is (rows, channels, height, width), from 0 to 1."""
    pad = [torch.nn.functional.pad(_enlarged(images.float()), (1, 1, 1, 1), value=1.0) for images in columns]
    rows = torch.stack(pad)  # (columns, rows, channels, height, width)
    joined = rows.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)
    colour = joined.expand(-1, -1, 3) if joined.shape[2] == 1 else joined
    return (255 * colour.clamp(0, 1)).round().to(torch.uint8).numpy()


def thumbnails(images: Tensor) -> NDArray[np.uint8]:
    """uint8 images (rows, channels, height, width) as (rows, height, width, 3)."""
    colour = images.permute(0, 2, 3, 1)
    return colour.expand(-1, -1, -1, 3).contiguous().numpy() if images.shape[1] == 1 else colour.numpy()


def _enlarged(images: Tensor) -> Tensor:
    times = max(1, -(-_LEAST // images.shape[2]))
    return images.repeat_interleave(times, 2).repeat_interleave(times, 3)
