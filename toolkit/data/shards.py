"""Token shards: memory-mapped files of ids, written whole or not at all.

A shard is three files. `.tokens` holds the ids of its documents one after another, the end of text before
each and after the last. `.documents` says where each starts. `.json` is written last: without it the others
don't count.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.data.split import Hashes, as_hashes
from toolkit.store.atomic import write_atomic

Model = TypeVar("Model", bound=BaseModel)

SUFFIXES = (".tokens", ".documents")
COUNTS = ".counts"
"""Of a share: how much of it was read at each document, for who joins the shares."""
SOURCE = "source.json"
"""Written last: with it the shards beside it are all that there are."""

DOCUMENT = np.dtype([("start", "<u8"), ("bytes", "<u8"), ("hash", "<u8", (2,))])
"""A document of a shard: where its end of text stands, the UTF-8 bytes of its text, its hash."""


COUNT = np.dtype([("read", "<u8"), ("skipped", "<u8")])


class Tokens(NamedTuple):
    """A document, tokenised."""

    ids: NDArray[np.unsignedinteger]
    n_bytes: int
    digest: bytes


class Counts(BaseModel):
    """Of a source, up to some place in it."""

    model_config = ConfigDict(frozen=True)

    read: int = 0
    """Documents read, those that were dropped included."""
    duplicates: int = 0
    skipped: int = 0


class ShardIndex(BaseModel):
    """`shard-NNNNN.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    tokens: int
    documents: int
    bytes: int
    so_far: Counts
    """Of the source, at the last document of this shard."""
    sha256: dict[str, str]
    """Of the other files, by their endings."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the other files, by their endings."""
        in_all = (self.tokens * np.dtype(self.dtype).itemsize, self.documents * DOCUMENT.itemsize)
        sizes = dict(zip(SUFFIXES, in_all, strict=True))
        return {**sizes, COUNTS: self.documents * COUNT.itemsize} if COUNTS in self.sha256 else sizes


@dataclass(frozen=True)
class Shard:
    """A whole shard."""

    stem: Path
    index: ShardIndex

    @cached_property
    def tokens(self) -> NDArray[np.unsignedinteger]:
        """The ids, mapped: shape (index.tokens,)."""
        return _mapped(self.stem.with_suffix(".tokens"), np.dtype(self.index.dtype))

    @cached_property
    def documents(self) -> NDArray[np.void]:
        """Of dtype DOCUMENT, mapped: shape (index.documents,)."""
        return _mapped(self.stem.with_suffix(".documents"), DOCUMENT)

    @cached_property
    def counts(self) -> NDArray[np.void]:
        """Of dtype COUNT, mapped: shape (index.documents,). Shards of shares have it."""
        return _mapped(self.stem.with_suffix(COUNTS), COUNT)

    @property
    def hashes(self) -> Hashes:
        return np.asarray(self.documents["hash"])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Targets in each document: its ids and the end of text behind them."""
        ends = np.append(self.documents["start"][1:], self.index.tokens - 1)
        lengths: NDArray[np.uint64] = ends - self.documents["start"]
        return lengths.astype(np.int64)

    def is_intact(self) -> bool:
        """Whether the files are what was written, read to their ends."""
        for suffix, expected in self.index.sha256.items():
            with self.stem.with_suffix(suffix).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    return False
        return True


def write_shard(
    folder: Path,
    number: int,
    documents: Sequence[Tokens],
    end: int,
    so_far: Counts,
    counts: Sequence[Counts] | None = None,
) -> Shard:
    """Writes a shard of these documents, `end` being the id of the end of text; the counts at each of them beside
    them where they are given."""
    dtype = documents[0].ids.dtype
    mark = np.array([end], dtype)
    parts = [part for document in documents for part in (mark, document.ids)]
    table = np.zeros(len(documents), DOCUMENT)
    lengths = np.array([len(document.ids) + 1 for document in documents])
    table["start"][1:] = np.cumsum(lengths)[:-1]
    table["bytes"] = [document.n_bytes for document in documents]
    table["hash"] = as_hashes([document.digest for document in documents])
    tokens = np.concatenate([*parts, mark]).astype(dtype.newbyteorder("<"), copy=False)
    stem = shard_stem(folder, number)
    content = dict(zip(SUFFIXES, (tokens.tobytes(), table.tobytes()), strict=True))
    if counts is not None:
        content[COUNTS] = np.array([(count.read, count.skipped) for count in counts], COUNT).tobytes()
    for suffix, data in content.items():
        write_atomic(stem.with_suffix(suffix), data)
    index = ShardIndex(
        dtype=tokens.dtype.str,
        tokens=len(tokens),
        documents=len(documents),
        bytes=int(table["bytes"].sum()),
        so_far=so_far,
        sha256={suffix: hashlib.sha256(data).hexdigest() for suffix, data in content.items()},
    )
    write_atomic(stem.with_suffix(".json"), index.model_dump_json().encode())
    return Shard(stem, index)


def whole_shards(folder: Path) -> Iterator[Shard]:
    """The shards from the first on, up to one that is missing or not whole."""
    number = 0
    while shard := open_shard(shard_stem(folder, number)):
        yield shard
        number += 1


def drop_shards(folder: Path, first: int) -> None:
    """Have the shards from number `first` on count no more."""
    for path in folder.glob("shard-*.json"):
        if int(path.stem.removeprefix("shard-")) >= first:
            path.unlink()


def shard_stem(folder: Path, number: int) -> Path:
    """The path of a shard without its endings."""
    return folder / f"shard-{number:05}"


class TokenIndex(BaseModel):
    """`source.json`: a source whose every document is in shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: int
    totals: Counts
    digest: str
    """sha256 of its documents' hashes in order: the content, whatever the tokenizer and the place."""


@dataclass(frozen=True)
class TokenSource:
    """The tokens of a source."""

    folder: Path
    index: TokenIndex
    shards: tuple[Shard, ...]

    @cached_property
    def hashes(self) -> Hashes:
        """Of all documents, in order: shape (n, 2)."""
        return np.concatenate([shard.hashes for shard in self.shards])


def finish(folder: Path, totals: Counts) -> TokenSource:
    """Marks the shards of `folder` as all that there are of the source."""
    shards = tuple(whole_shards(folder))
    index = TokenIndex(shards=len(shards), totals=totals, digest=content_digest(shards))
    write_atomic(folder / SOURCE, index.model_dump_json().encode())
    return TokenSource(folder, index, shards)


def content_digest(shards: Iterable[Shard]) -> str:
    """sha256 of the hashes of their documents, in order."""
    content = hashlib.sha256()
    for shard in shards:
        content.update(shard.hashes.tobytes())
    return content.hexdigest()


def finished(folder: Path) -> TokenSource | None:
    """The tokens in `folder`, or None when the source has not been read to its end."""
    index = _read(folder / SOURCE, TokenIndex)
    if index is None:
        return None
    shards = tuple(whole_shards(folder))
    return TokenSource(folder, index, shards) if len(shards) == index.shards else None


def open_shard(stem: Path) -> Shard | None:
    """The shard, or None where it is missing or not whole."""
    index = _read(stem.with_suffix(".json"), ShardIndex)
    if index is None:
        return None
    for suffix, size in index.sizes.items():
        path = stem.with_suffix(suffix)
        if not path.is_file() or path.stat().st_size != size:
            return None
    return Shard(stem, index)


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    # A plain view: slicing a memmap object costs ten times as much.
    return np.memmap(path, dtype, "r").view(np.ndarray)
