"""Vectors for TensorBoard's embedding projector: two tables, a sheet of thumbnails and a configuration."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.store.atomic import write_atomic
from toolkit.store.png import write_png
from toolkit.store.text import sanitize

CONFIG = "projector_config.pbtxt"
FOLDER = "projector"
LARGEST_SHEET = 8192
"""Pixels of a side, beyond which TensorBoard shows no thumbnails."""


def write_projector(
    folder: Path,
    vectors: NDArray[np.floating[Any]],
    labels: Sequence[str] = (),
    thumbnails: NDArray[np.uint8] | None = None,
    *,
    name: str = "trunk",
) -> None:
    """Write the files beside the events in `folder`, in place of earlier ones.

    Args:
        vectors: (rows, dimensions).
        labels: One a row, or none.
        thumbnails: (rows, height, width, 3).
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    lines = ("\t".join(f"{value:.6g}" for value in row) for row in vectors)
    write_atomic(place / "vectors.tsv", ("\n".join(lines) + "\n").encode())
    parts = [f'tensor_name: "{name}"', f'tensor_path: "{FOLDER}/vectors.tsv"']
    if labels:
        text = "\n".join(sanitize(label) or "-" for label in labels) + "\n"
        write_atomic(place / "labels.tsv", text.encode())
        parts.append(f'metadata_path: "{FOLDER}/labels.tsv"')
    if thumbnails is not None and len(thumbnails):
        _, height, width, _ = thumbnails.shape
        across = math.ceil(math.sqrt(len(thumbnails)))
        if across * max(height, width) <= LARGEST_SHEET:
            sheet = np.zeros((across, height, across, width, 3), np.uint8)
            for number, image in enumerate(thumbnails):
                sheet[number // across, :, number % across] = image
            pixels = sheet.reshape(across * height, across * width, 3)
            png = write_png(pixels.tobytes(), pixels.shape[1], pixels.shape[0])
            write_atomic(place / "thumbnails.png", png)
            size = f"single_image_dim: {width} single_image_dim: {height}"
            parts.append(f'sprite {{ image_path: "{FOLDER}/thumbnails.png" {size} }}')
    config = "embeddings {\n  " + "\n  ".join(parts) + "\n}\n"
    write_atomic(folder / CONFIG, config.encode())
