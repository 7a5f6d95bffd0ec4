"""Prepared tokens in a place that machines share: pushed whole, and pulled instead of made again.

What lies there looks like the cache here: `tokens/NAME` with shards and, written last, `source.json`;
`tokenizers/NAME.json`. Nothing of it is trusted: every file's size and hash, every id, every place and every count is
checked, and no name in it becomes a path. What is damaged is told and passed over.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolkit.data.ahead import in_order
from toolkit.data.elsewhere import Damaged, FolderElsewhere, Unreachable
from toolkit.data.errors import DataError
from toolkit.data.progress import Progress, check
from toolkit.data.shards import (
    COUNTS,
    SOURCE,
    SUFFIXES,
    Counts,
    Shard,
    ShardIndex,
    TokenIndex,
    TokenSource,
    content_digest,
    drop_shards,
    finish,
    open_shard,
    shard_stem,
)
from toolkit.data.sources.remote import reason_of
from toolkit.data.tokenizer import LARGEST_FILE, TextTokenizer
from toolkit.store.atomic import JSON_LIMIT, write_atomic

_AT_ONCE = 8
"""Shards on their way at the same time: a store answers many slowly, sooner than one after the other."""
_DTYPES = ("<u2", "<u4")
_MARK = "written-by-tk"

Model = TypeVar("Model", bound=BaseModel)


class KeptTokenizer(BaseModel):
    """`tokenizers/NAME.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    tokenizer: str
    """The text of its `tokenizer.json`."""


class SharedCache:
    """A folder, or the URL of a store, that prepared tokens are kept in too. Raises DataError where the driver of
    the store is missing.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._there = FolderElsewhere(place)
        self._damaged: set[str] = set()

    def pull(
        self, folder: Path, tokenizer: TextTokenizer, progress: Progress, *, counted: bool = False
    ) -> TokenSource | None:
        """The tokens of the source, or of the share of one, whose shards belong into `folder`, if they are there.

        Args:
            counted: Whether counts stand beside the documents, as in shares.

        Raises:
            DataError: The place can't be reached.
            PreparationStopped: `progress` asked for it.
        """
        there = _name(folder)
        expected = {*SUFFIXES, COUNTS} if counted else {*SUFFIXES}
        with self._passing_over(there, progress):
            index = self._find(f"{there}/{SOURCE}", TokenIndex)
            if index is not None:
                return self._pull(there, folder, index, expected, tokenizer.vocab_size, progress)
        return None

    def holds(self, folder: Path) -> bool:
        """Whether all tokens that belong into `folder` seem to be there."""
        try:
            return self._there.read(f"{_name(folder)}/{SOURCE}", TokenIndex) is not None
        except (Damaged, Unreachable):
            return False

    def drop(self, folder: Path) -> None:
        """Remove what was pushed of a folder, if anything was."""
        with suppress(Unreachable, FileNotFoundError):
            self._there.remove(_name(folder))

    def push(self, source: TokenSource, progress: Progress) -> None:
        """Keep the tokens there, unless they are. What goes wrong is told: those here are whole all the same.

        Raises PreparationStopped where `progress` asks for it.
        """
        there = _name(source.folder)
        with self._pushing(there, progress):
            anew = there in self._damaged
            if not anew and self._holds(f"{there}/{SOURCE}", source.index):
                return
            self._there.write(_MARK, b"")  # before hours of pushing
            progress.start("pushing shards", len(source.shards))
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                pushed = in_order(pool, partial(self._push_shard, there, anew), source.shards, _AT_ONCE)
                with closing(pushed):
                    for _ in pushed:
                        progress.advance(1)
                        check(progress)
            self._there.write(f"{there}/{SOURCE}", source.index.model_dump_json().encode())
            self._damaged.discard(there)

    def pull_tokenizer(self, name: str, progress: Progress) -> TextTokenizer | None:
        """The tokenizer of this name, if it is there. Raises DataError where the place can't be reached."""
        there = f"tokenizers/{name}.json"
        with self._passing_over(there, progress):
            kept = self._find(there, KeptTokenizer, 2 * LARGEST_FILE)
            if kept is not None:
                content = kept.tokenizer.encode("utf-8", "replace")
                if hashlib.sha256(content).hexdigest() != kept.sha256:
                    raise Damaged("its hash is another one")
                try:
                    return TextTokenizer(content)
                except ValueError as error:
                    raise Damaged(reason_of(error)) from error
        return None

    def push_tokenizer(self, name: str, tokenizer: TextTokenizer, progress: Progress) -> None:
        """Keep a tokenizer there. What goes wrong is told."""
        text, sha256 = tokenizer.json.decode(), hashlib.sha256(tokenizer.json).hexdigest()
        there = f"tokenizers/{name}.json"
        with self._pushing(there, progress):
            kept = KeptTokenizer(sha256=sha256, tokenizer=text)
            self._there.write(there, kept.model_dump_json().encode())

    def _pull(
        self,
        there: str,
        folder: Path,
        index: TokenIndex,
        expected: set[str],
        vocab_size: int,
        progress: Progress,
    ) -> TokenSource:
        progress.start("pulling shards", index.shards)
        whole: list[Shard] = []
        documents = 0
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                act = partial(self._pull_shard, there, folder, expected, vocab_size)
                with closing(in_order(pool, act, range(index.shards), _AT_ONCE)) as pulled:
                    for shard in pulled:
                        documents += shard.index.documents
                        _check_counts(shard.index.so_far, documents)
                        whole.append(shard)
                        progress.advance(1)
                        check(progress)
            _check_counts(index.totals, documents)
            if content_digest(whole) != index.digest:
                whole.clear()
                raise Damaged(f"{SOURCE} is of other shards")
        except BaseException:
            # What comes behind them was not checked yet.
            drop_shards(folder, len(whole))
            raise
        return finish(folder, index.totals)

    def _pull_shard(
        self, there: str, folder: Path, expected: set[str], vocab_size: int, number: int
    ) -> Shard:
        stem = shard_stem(folder, number)
        name = f"{there}/{stem.name}"
        index = self._there.read(f"{name}.json", ShardIndex)
        if (
            index is None
            or set(index.sha256) != expected
            or index.dtype not in _DTYPES
            or min(index.tokens, index.documents) < 1
        ):
            raise Damaged(f"{stem.name}.json is missing or damaged")
        here = open_shard(stem)
        if here is None or here.index != index or not here.is_intact():
            stem.with_suffix(".json").unlink(missing_ok=True)
            for suffix, size in index.sizes.items():
                self._there.fetch(f"{name}{suffix}", stem.with_suffix(suffix), size, index.sha256[suffix])
            write_atomic(stem.with_suffix(".json"), index.model_dump_json().encode())
            here = Shard(stem, index)
        _check_content(here, vocab_size)
        return here

    def _push_shard(self, there: str, anew: bool, shard: Shard) -> None:
        name, sizes = f"{there}/{shard.stem.name}", shard.index.sizes
        if (
            not anew
            and self._holds(f"{name}.json", shard.index)
            and all(self._there.has(f"{name}{suffix}", size) for suffix, size in sizes.items())
        ):
            return
        if not shard.is_intact():
            raise Damaged(f"{shard.stem} is damaged here")
        for suffix in sizes:
            self._there.put(shard.stem.with_suffix(suffix), f"{name}{suffix}")
        self._there.write(f"{name}.json", shard.index.model_dump_json().encode())

    def _holds(self, name: str, index: BaseModel) -> bool:
        try:
            return self._there.read(name, type(index)) == index
        except Damaged:
            return False

    def _find(self, name: str, model: type[Model], limit: int = JSON_LIMIT) -> Model | None:
        """What is looked for first: a place that can't be reached is an error of the spec."""
        try:
            return self._there.read(name, model, limit)
        except Unreachable as error:
            raise DataError(self.place, f"run.shards can't be reached: {error}") from error

    @contextmanager
    def _passing_over(self, there: str, progress: Progress) -> Iterator[None]:
        try:
            yield
        except (Damaged, Unreachable) as error:
            self._damaged.add(there)
            progress.note(f"{self.place}: {there} is passed over: {error}. It is made here instead.")

    @contextmanager
    def _pushing(self, there: str, progress: Progress) -> Iterator[None]:
        try:
            yield
        except (Damaged, Unreachable, FileNotFoundError) as error:
            progress.note(f"{self.place}: {there} was not pushed: {reason_of(error)}. It is whole here.")


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _check_counts(counts: Counts, documents: int) -> None:
    """Raises Damaged unless every document that was read is kept, a duplicate or skipped."""
    if counts.read != documents + counts.duplicates + counts.skipped:
        raise Damaged("its counts contradict each other")


def _check_content(shard: Shard, vocab_size: int) -> None:
    """Raises Damaged for ids that no token has, or documents that lie outside."""
    starts = shard.documents["start"]
    if (
        starts[0] != 0
        or not (starts[1:] > starts[:-1]).all()
        or starts[-1] >= shard.index.tokens - 1
        or int(shard.documents["bytes"].sum()) != shard.index.bytes
        or int(shard.tokens.max()) >= vocab_size
        or (COUNTS in shard.index.sha256 and not _are_counts(shard))
    ):
        raise Damaged(f"{shard.stem.name} does not hold what its index says")


def _are_counts(shard: Shard) -> bool:
    """Whether more is read from one document to the next, of which no more is skipped."""
    read, skipped = (shard.counts[name].astype(np.int64) for name in ("read", "skipped"))
    passed_over = np.diff(read, prepend=0) - 1 - np.diff(skipped, prepend=0)
    limit, last = shard.index.so_far, (int(read[-1]), int(skipped[-1]))
    return bool(
        (read > 0).all()
        and (np.diff(skipped, prepend=0) >= 0).all()
        and (passed_over >= 0).all()
        and last[0] <= limit.read
        and last[1] <= limit.skipped
    )
