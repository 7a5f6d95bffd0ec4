"""Rows of tokens: documents cut into pieces, pieces packed into rows of equal length.

In a shard a document of n ids stands as `EOT d1 … dn EOT`, its last EOT being the next one's first. A piece
(start, length) gives inputs tokens[start : start + length] and as targets the ids one further on. So every id
is predicted once, from what stands before it in its document, and a document's end predicts EOT.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.data.pack import best_fit
from toolkit.data.progress import Progress, check
from toolkit.data.shards import Shard, TokenSource
from toolkit.data.split import Seen, cutoff
from toolkit.plan.corpus import SplitFacts
from toolkit.plan.fingerprint import fingerprint
from toolkit.store.atomic import fsync_folder, remove_temporaries, sync, write_atomic

PIECE = np.dtype([("start", "<u8"), ("length", "<u4"), ("shard", "<u4")])
IGNORED = -100
"""Target of a slot that no document fills."""

_VERSION = 1
_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Rows:
    """Some rows. Both are int64, of shape (n, sequence_length)."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]


class RowIndex(BaseModel):
    """`rows-…/index.json`: how the documents of a source are split, and what each part holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: SplitFacts
    validation: SplitFacts
    dropped: int
    """Documents that an earlier source has too."""


@dataclass(frozen=True)
class PackedRows:
    """The rows of one split of one source."""

    tokens: TokenSource
    folder: Path
    split: str
    facts: SplitFacts
    sequence_length: int
    end: int

    @cached_property
    def _pieces(self) -> NDArray[np.void]:
        return np.memmap(self.folder / f"{self.split}.pieces", PIECE, "r").view(np.ndarray)

    @cached_property
    def _ends(self) -> NDArray[np.uint64]:
        return np.memmap(self.folder / f"{self.split}.ends", "<u8", "r").view(np.ndarray)

    def read(self, numbers: NDArray[np.int64], rows: Rows, places: NDArray[np.int64]) -> None:
        """Writes the rows of these numbers (each below facts.rows) to these places of `rows`, which holds
        the end of text and IGNORED already.
        """
        for number, place in zip(numbers.tolist(), places.tolist(), strict=True):
            first = int(self._ends[number - 1]) if number else 0
            at = 0
            for start, length, shard in self._pieces[first : int(self._ends[number])].tolist():
                ids = self.tokens.shards[shard].tokens[start : start + length + 1]
                rows.inputs[place, at : at + length] = ids[:-1]
                rows.targets[place, at : at + length] = ids[1:]
                at += length

    def blank(self, n: int) -> Rows:
        """Rows that nothing fills."""
        shape = (n, self.sequence_length)
        return Rows(np.full(shape, self.end, np.int64), np.full(shape, IGNORED, np.int64))


class SourceRows(NamedTuple):
    """Both parts of a source, and how many of its documents an earlier source has."""

    train: PackedRows
    validation: PackedRows
    dropped: int


def pack_source(
    tokens: TokenSource,
    *,
    sequence_length: int,
    validation: float,
    end: int,
    earlier: Iterable[TokenSource],
    progress: Progress,
) -> SourceRows:
    """The rows of a source, from the cache or packed now.

    Args:
        validation: Share of documents held out, by their hash.
        end: Id of the end of text.
        earlier: The sources before it in the mix: their documents are dropped from this one.
    """
    earlier = list(earlier)
    identity = [_VERSION, sequence_length, validation, [source.index.digest for source in earlier]]
    folder = tokens.folder / f"rows-{sequence_length}-{fingerprint(identity)[:16]}"
    index = _read_index(folder)
    if index is None:
        index = _pack(tokens, folder, sequence_length, validation, earlier, progress)
    train, held_out = (
        PackedRows(tokens, folder, split, getattr(index, split), sequence_length, end) for split in _SPLITS
    )
    return SourceRows(train, held_out, index.dropped)


def _pack(
    tokens: TokenSource,
    folder: Path,
    sequence_length: int,
    validation: float,
    earlier: list[TokenSource],
    progress: Progress,
) -> RowIndex:
    progress.start("packing", len(tokens.shards))
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)
    seen = Seen()
    for source in earlier:
        seen.add(source.hashes)
    limit = cutoff(validation, tokens.hashes)
    facts = dict.fromkeys(_SPLITS, SplitFacts())
    n_pieces = dict.fromkeys(_SPLITS, 0)
    dropped = 0
    writers = {split: _RowWriter(folder, split) for split in _SPLITS}
    try:
        for number, shard in enumerate(tokens.shards):
            hashes = shard.hashes
            kept = ~seen.contains(hashes)
            dropped += len(kept) - int(kept.sum())
            held_out = hashes[:, 0] < np.uint64(limit)
            for split, chosen in (("train", kept & ~held_out), ("validation", kept & held_out)):
                pieces, counts = _pieces(shard, number, chosen, sequence_length)
                writers[split].write(pieces, counts, n_pieces[split])
                n_pieces[split] += len(pieces)
                facts[split] += _facts(shard, chosen, len(counts))
            progress.advance(1)
            check(progress)
    finally:
        for writer in writers.values():
            writer.close()
    fsync_folder(folder)
    index = RowIndex(train=facts["train"], validation=facts["validation"], dropped=dropped)
    write_atomic(folder / "index.json", index.model_dump_json().encode())
    return index


class _RowWriter:
    """`SPLIT.pieces`, row after row, and `SPLIT.ends`: the number of pieces up to the end of each row."""

    def __init__(self, folder: Path, split: str) -> None:
        self._files: list[BinaryIO] = [
            (folder / f"{split}{ending}").open("wb") for ending in (".pieces", ".ends")
        ]

    def write(self, pieces: NDArray[np.void], counts: NDArray[np.int64], before: int) -> None:
        self._files[0].write(pieces.tobytes())
        self._files[1].write((np.cumsum(counts) + before).astype("<u8").tobytes())

    def close(self) -> None:
        for file in self._files:
            file.flush()
            sync(file.fileno())
            file.close()


def _pieces(
    shard: Shard, number: int, chosen: NDArray[np.bool_], sequence_length: int
) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The pieces of the chosen documents, row after row, and the number of pieces in each row."""
    starts = shard.documents["start"][chosen].astype(np.int64)
    lengths = shard.lengths[chosen]
    n_full = lengths // sequence_length
    rest = lengths % sequence_length
    # Full pieces: every document's start, sequence_length further for each piece before it in the document.
    within = np.arange(n_full.sum()) - np.repeat(np.cumsum(n_full) - n_full, n_full)
    full_starts = np.repeat(starts, n_full) + within * sequence_length
    rest_starts = (starts + n_full * sequence_length)[rest > 0]
    rest = rest[rest > 0]
    bins = best_fit(rest, sequence_length)
    order = np.argsort(bins, kind="stable")
    pieces = np.empty(len(full_starts) + len(rest), PIECE)
    pieces["start"] = np.concatenate([full_starts, rest_starts[order]])
    pieces["length"] = np.concatenate([np.full(len(full_starts), sequence_length), rest[order]])
    pieces["shard"] = number
    return pieces, np.concatenate([np.ones(len(full_starts), np.int64), np.bincount(bins)])


def _facts(shard: Shard, chosen: NDArray[np.bool_], rows: int) -> SplitFacts:
    return SplitFacts(
        documents=int(chosen.sum()),
        bytes=int(shard.documents["bytes"][chosen].sum()),
        tokens=int(shard.lengths[chosen].sum()),
        rows=rows,
    )


def _read_index(folder: Path) -> RowIndex | None:
    try:
        return RowIndex.model_validate_json((folder / "index.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
