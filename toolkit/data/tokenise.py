"""Documents to token shards: duplicates dropped, every core busy, resumable after the last whole shard."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.data.ahead import in_order
from toolkit.data.progress import Progress, check
from toolkit.data.shards import (
    Counts,
    Shard,
    Tokens,
    TokenSource,
    finish,
    finished,
    whole_shards,
    write_shard,
)
from toolkit.data.sources import Document, Part
from toolkit.data.split import Seen, as_hashes, digest
from toolkit.data.tokenizer import TextTokenizer

SHARD_TOKENS = 8 << 20
"""Ids after which a shard is closed: the most that a crash can lose."""

_BATCH_BYTES = 2 << 20
_BATCH_DOCUMENTS = 4096
_LONGEST_SEGMENT = 1 << 18
"""Characters encoded in one go: a longer document would keep one core busy while the others wait."""

Ids = NDArray[np.unsignedinteger]


class Kept(NamedTuple):
    """A document to tokenise, and the counts of the source when it was read."""

    text: str
    n_bytes: int
    digest: bytes
    so_far: Counts


class Writer:
    """The shards of a folder, one after another; what an earlier process left whole is kept.

    Attributes:
        seen: The documents of the whole shards; who adds documents asks it which are new.
        so_far: Counts at the end of the whole shards.
        counted: Whether the counts at each document are kept, by which shares are joined.
    """

    def __init__(self, folder: Path, end: int, *, counted: bool = False) -> None:
        self._folder = folder
        self._end = end
        self._counted = counted
        self.whole = list(takewhile(Shard.is_intact, whole_shards(folder)))
        self._number = len(self.whole)
        self._waiting: list[Tokens] = []
        self._counts: list[Counts] = []
        self._length = 0
        self.seen, self.so_far = Seen(), Counts()
        for shard in self.whole:
            self.seen.add(shard.hashes)
            self.so_far = shard.index.so_far

    def add(self, document: Tokens, so_far: Counts) -> None:
        """One more document, and the counts of the source when it was read."""
        self._waiting.append(document)
        self._counts.append(so_far)
        self._length += len(document.ids) + 1
        if self._length >= SHARD_TOKENS:
            self._close(so_far)

    def finish(self, totals: Counts) -> TokenSource:
        """Writes what is left, and marks the shards as all that there are."""
        if self._waiting:
            self._close(totals)
        return finish(self._folder, totals)

    def _close(self, so_far: Counts) -> None:
        counts = self._counts if self._counted else None
        write_shard(self._folder, self._number, self._waiting, self._end, so_far, counts)
        self._number += 1
        self._waiting, self._counts, self._length = [], [], 0


def tokenise(
    reader: Part, tokenizer: TextTokenizer, folder: Path, progress: Progress, *, counted: bool = False
) -> TokenSource:
    """The tokens of a source, or of a share of it, in `folder`, from the cache or made now; goes on where an earlier
    call ended. A source without text has no shards.

    Args:
        counted: Keep the counts at each document too, by which shares are joined.

    Raises:
        DataError: The source can't be read.
        PreparationStopped: `progress` asked for it.
    """
    if (done := finished(folder)) is not None:
        return done
    writer = Writer(folder, tokenizer.end_of_text_id, counted=counted)
    for shard in writer.whole:
        progress.advance(shard.index.bytes)
    batches = _Batches(reader, writer.seen, writer.so_far)
    for batch, ids in _encoded(batches, tokenizer):
        for kept, document in zip(batch, ids, strict=True):
            writer.add(Tokens(document, kept.n_bytes, kept.digest), kept.so_far)
        progress.advance(sum(kept.n_bytes for kept in batch))
        check(progress)
    return writer.finish(batches.counts)


class _Batches:
    """Reads a source in batches of documents that hold text not seen before.

    Attributes:
        counts: Of the source so far.
    """

    def __init__(self, reader: Part, seen: Seen, start: Counts) -> None:
        self._documents = reader.documents(skip=start.read)
        self._seen = seen
        self.counts = start

    def __iter__(self) -> Iterator[list[Kept]]:
        while texts := self._read():
            yield self._kept(texts)

    def _read(self) -> list[bytes]:
        texts: list[bytes] = []
        size = 0
        for document in self._documents:
            texts.append(as_utf8(document))
            size += len(texts[-1])
            if size >= _BATCH_BYTES or len(texts) >= _BATCH_DOCUMENTS:
                break
        return texts

    def _kept(self, texts: list[bytes]) -> list[Kept]:
        digests = [digest(text) for text in texts]
        filled = np.array([bool(text.strip()) for text in texts])
        fresh = np.zeros(len(texts), bool)
        fresh[filled] = self._seen.new(as_hashes(digests)[filled])
        read, duplicates, skipped = self.counts.read, self.counts.duplicates, self.counts.skipped
        kept = []
        for i, text in enumerate(texts):
            read += 1
            if not filled[i]:
                skipped += 1
            elif not fresh[i]:
                duplicates += 1
            else:
                so_far = Counts.model_construct(read=read, duplicates=duplicates, skipped=skipped)
                kept.append(Kept(text.decode(), len(text), digests[i], so_far))
        self.counts = Counts(read=read, duplicates=duplicates, skipped=skipped)
        return kept


def as_utf8(document: Document) -> bytes:
    """The document's bytes. Half a surrogate pair, which JSON can spell but no text can hold, is replaced."""
    try:
        return document.text.encode()
    except UnicodeEncodeError:
        return document.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _encoded(batches: _Batches, tokenizer: TextTokenizer) -> Iterator[tuple[list[Kept], list[Ids]]]:
    """Each batch with the ids of its documents; the next batch is read while one is being encoded."""

    def ids_of(batch: list[Kept]) -> tuple[list[Kept], list[Ids]]:
        return batch, encode([kept.text for kept in batch], tokenizer)

    with ThreadPoolExecutor(1) as pool:
        yield from in_order(pool, ids_of, batches, 1)


def encode(texts: list[str], tokenizer: TextTokenizer) -> list[Ids]:
    """The ids of each text; long texts are encoded in segments."""
    segments = [list(split_segments(text)) for text in texts]
    ids = iter(tokenizer.encode_batch(list(chain.from_iterable(segments))))
    joined = []
    for parts in segments:
        encoded = [next(ids) for _ in parts]
        joined.append(encoded[0] if len(encoded) == 1 else np.concatenate(encoded))
    return joined


def split_segments(text: str, longest: int = _LONGEST_SEGMENT) -> Iterator[str]:
    """Cuts a long text where a byte-level tokenizer would cut it anyway: before a newline that follows
    a letter or a digit. Without such a place, before any newline or space, else at the limit.
    """
    start = 0
    while len(text) - start > longest:
        end = _last_cut(text, start + 1, start + longest)
        yield text[start:end]
        start = end
    yield text[start:]


def _last_cut(text: str, low: int, high: int) -> int:
    place = high
    while (place := text.rfind("\n", low, place)) > 0:
        if text[place - 1].isalnum():
            return place
    for mark in ("\n", " "):
        if (place := text.rfind(mark, low, high)) > 0:
            return place
    return high
