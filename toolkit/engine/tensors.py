"""The tensors of a checkpoint: in one file each for weights and optimizer, or in parts of several ranks.

Either way they lie in safetensors files: nothing is unpickled. PyTorch's distributed checkpoints write and
re-divide the parts; that the parts fill every tensor exactly is checked here, since its reader leaves what is
missing as it was, without a word.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

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
        _load(folder / name, tensors, alone=True)
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

    All ranks must call it. Raises KeyError for a name and ValueError for a shape that isn't there.
    """
    described = describe(folder, name)
    for key, tensor in into.items():
        if described[key].size != tensor.shape:
            raise ValueError(f"{key} has shape {tuple(described[key].size)}, not {tuple(tensor.shape)}")
    plain = folder / f"{name}{SUFFIX}"
    _load(plain if plain.exists() else folder / name, dict(into), alone=False)


def write_parts(folder: Path, name: str, tensors: Mapping[str, Tensor], group: ProcessGroup) -> None:
    """Write this rank's parts; all ranks must call it, and what all have in whole is written once.

    Raises CheckpointException where any rank failed.
    """
    target = folder / name
    target.mkdir(exist_ok=True)
    writer = HuggingFaceStorageWriter(str(target), save_distributed=True)
    save(dict(tensors), storage_writer=writer, process_group=group)


def parts_of(folder: Path, rank: int) -> Sequence[Path]:
    """The files that `write_parts` wrote for this rank."""
    return sorted(folder.glob(f"*/shard-{rank + 1:05d}-*{SUFFIX}"))


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


def _load(path: Path, into: dict[str, Tensor], *, alone: bool) -> None:
    if not into:
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(into, storage_reader=_Reader(path), no_dist=alone)


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
