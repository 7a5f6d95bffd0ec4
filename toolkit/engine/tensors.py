"""The tensors of a checkpoint: in one file each for weights and optimizer, or in parts of several ranks.

Either way they lie in safetensors files: nothing is unpickled. PyTorch's distributed checkpoints read and
re-divide the parts; that the parts fill every tensor exactly is checked here, since its reader leaves what is
missing as it was, without a word.
"""

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint._hf_utils import (
    CUSTOM_METADATA_KEY,
    FORMAT_KEY,
    FORMAT_VALUE,
    SAVED_OFFSETS_KEY,
)
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.tensor import DTensor, Placement, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.distributed.tensor.placement_types import _StridedShard

from toolkit.store.errors import CorruptCheckpoint

WEIGHTS = "weights"
OPTIMIZER = "optimizer"
SUFFIX = ".safetensors"


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """All tensors of `name` (`weights` or `optimizer`), whole, on the CPU. The checkpoint is verified.

    Raises CorruptCheckpoint.
    """
    plain = folder / f"{name}{SUFFIX}"
    try:
        if plain.exists():
            return load_file(plain)
        described = describe(folder, name)
        tensors = {
            key: torch.empty(entry.size, dtype=entry.properties.dtype) for key, entry in described.items()
        }
        _load(folder / name, tensors)
    except (SafetensorError, OSError) as error:
        raise CorruptCheckpoint(folder, f"{name} can't be read: {error}") from error
    return tensors


def describe(folder: Path, name: str) -> Mapping[str, TensorStorageMetadata]:
    """Shape and type of each tensor of `name`. Raises CorruptCheckpoint where parts are missing."""
    plain = folder / f"{name}{SUFFIX}"
    try:
        found = _Reader(plain if plain.exists() else folder / name).read_metadata().state_dict_metadata
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise CorruptCheckpoint(folder, f"{name} can't be read: {error}") from error
    described = {}
    for key, entry in found.items():
        if not isinstance(entry, TensorStorageMetadata) or not _is_filled(entry.size, entry.chunks):
            raise CorruptCheckpoint(folder, f"the parts of {name}/{key} don't make up the whole of it")
        described[key] = entry
    return described


def load_parts(folder: Path, name: str, into: Mapping[str, Tensor]) -> None:
    """Fill tensors, of which each rank holds its part, from whatever division they were saved in.

    Each rank reads what it needs. Raises KeyError for a name and ValueError for a shape that isn't there.
    """
    described = describe(folder, name)
    for key, tensor in into.items():
        if described[key].size != tensor.shape:
            raise ValueError(f"{key} has shape {tuple(described[key].size)}, not {tuple(tensor.shape)}")
    plain = folder / f"{name}{SUFFIX}"
    _load(plain if plain.exists() else folder / name, dict(into))


def write_parts(folder: Path, name: str, tensors: Mapping[str, Tensor], rank: int) -> Path:
    """Write this rank's parts in the layout of `HuggingFaceStorageWriter`, and what all have in whole by the first
    rank alone; the file. Raises OSError or SafetensorError.

    Each rank writes for itself: PyTorch's writer would have them send each other pickled plans.
    """
    target = folder / name
    target.mkdir(exist_ok=True)
    parts: dict[str, Tensor] = {}
    offsets: dict[str, dict[str, list[int]]] = {}
    for key, tensor in tensors.items():
        if _is_mine(tensor, rank):
            part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            parts[key] = part.contiguous()
            offsets[key] = {SAVED_OFFSETS_KEY: _offset(tensor)}
    path = target / f"shard-{rank + 1:05d}-model-00001-of-00001{SUFFIX}"
    save_file(parts, path, {CUSTOM_METADATA_KEY: json.dumps(offsets), FORMAT_KEY: FORMAT_VALUE})
    return path


def _is_mine(tensor: Tensor, rank: int) -> bool:
    """Whether this rank is the first of those that hold this part, and the part is not empty."""
    if not isinstance(tensor, DTensor):
        return rank == 0
    mesh = tensor.device_mesh
    place = mesh.get_coordinate()
    # Where several meshes side by side hold the same, that of the first rank counts.
    if place is None or tensor.to_local().numel() == 0 or 0 not in mesh.mesh:
        return False
    return all(divides(placement) or at == 0 for placement, at in zip(tensor.placements, place, strict=True))


def divides(placement: Placement) -> bool:
    """Whether each rank along a dimension of a mesh holds a part, and not the same."""
    return isinstance(placement, Shard | _StridedShard)


def _offset(tensor: Tensor) -> list[int]:
    """Where this rank's part begins in the whole."""
    if not isinstance(tensor, DTensor):
        return [0] * tensor.ndim
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return list(offset)


class _Reader(HuggingFaceStorageReader):
    """Reads a folder, or one file."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path if path.is_dir() else path.parent))
        self._only = None if path.is_dir() else str(path)
        if self._only:
            self.fs = _OneFile(self._only)  # type: ignore[assignment]


class _OneFile:
    """The part of a file system that the reader asks for, with one file in it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ls(self, path: str) -> list[str]:
        return [self._path]


def _load(path: Path, into: dict[str, Tensor]) -> None:
    if not into:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(into, storage_reader=_Reader(path), no_dist=True)  # with the others it would exchange pickles


def _is_filled(size: torch.Size, chunks: Sequence[ChunkStorageMetadata]) -> bool:
    """Whether the chunks lie side by side and leave nothing out."""
    if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(size):
        return False
    filled = [chunk for chunk in chunks if math.prod(chunk.sizes)]
    ordered = sorted(filled, key=lambda chunk: tuple(chunk.offsets))
    return not any(
        _overlap(one, other) for index, one in enumerate(ordered) for other in _near(ordered, index)
    )


def _near(ordered: Sequence[ChunkStorageMetadata], index: int) -> Iterable[ChunkStorageMetadata]:
    """Chunks after this one that begin before it ends along the first dimension."""
    one = ordered[index]
    if not one.offsets:
        yield from ordered[index + 1 :]
        return
    end = one.offsets[0] + one.sizes[0]
    for other in ordered[index + 1 :]:
        if other.offsets[0] >= end:
            return
        yield other


def _overlap(one: ChunkStorageMetadata, other: ChunkStorageMetadata) -> bool:
    return all(
        a < b + n and b < a + m
        for a, m, b, n in zip(one.offsets, one.sizes, other.offsets, other.sizes, strict=True)
    )
