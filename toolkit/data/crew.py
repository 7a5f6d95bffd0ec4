"""Several workers tokenise a source: each begins with its shares, takes over those of others when it has done, and
whoever comes first joins them into the shards that one worker alone would have written, bit for bit.

Workers meet by the locks of the cache alone: processes and ranks of one machine, and of machines that share the
disk of `TK_CACHE`. Through a shared place they give each other whole shares. None waits for one that has died.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.data.alone import alone
from toolkit.data.progress import Progress, check
from toolkit.data.shards import Counts, Shard, Tokens, TokenSource, finished
from toolkit.data.shared import SharedCache
from toolkit.data.sources import Reader
from toolkit.data.tokenise import Writer, tokenise
from toolkit.data.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Crew:
    """One of some workers that prepare the same data at the same time.

    Attributes:
        index: Below `count`.
    """

    index: int = 0
    count: int = 1

    def order(self, shares: int) -> list[int]:
        """The shares, this worker's first; those of others from the last on, which they come to last."""
        others = [number for number in range(shares) if number % self.count != self.index]
        return [*range(self.index, shares, self.count), *reversed(others)]


def tokenise_shares(
    reader: Reader,
    tokenizer: TextTokenizer,
    folder: Path,
    crew: Crew,
    shared: SharedCache | None,
    progress: Progress,
    check_unchanged: Callable[[Path], None],
) -> list[TokenSource]:
    """The tokens of each share of the source whose shards belong into `folder`; none where that became whole
    meanwhile.

    Raises DataError where a share can't be read, and PreparationStopped where `progress` asks for it.
    """
    shares = reader.shares()
    made: dict[int, TokenSource] = {}
    left = crew.order(len(shares))
    for wait in (False, True):
        held_by_others: list[int] = []
        for number in left:
            place = _folder(folder, number)
            with alone(place, progress, wait=wait) as held:
                if finished(folder) or (shared and shared.holds(folder)):
                    return []
                if not held:
                    held_by_others.append(number)
                    continue
                source = finished(place) or (shared and shared.pull(place, tokenizer, progress, counted=True))
                if not source:
                    progress.start(f"tokenising share {len(made) + 1} of {len(shares)}", shares[number].size)
                    source = tokenise(shares[number], tokenizer, place, progress, counted=True)
                    check_unchanged(place)
                    if shared:
                        shared.push(source, progress)
                made[number] = source
        left = held_by_others
    return [made[number] for number in range(len(shares))]


def join(
    shares: list[TokenSource], tokenizer: TextTokenizer, folder: Path, progress: Progress
) -> TokenSource:
    """The shards in `folder` of all shares, one after another. A document that an earlier share has is a duplicate."""
    progress.start("joining shares", sum(len(source.shards) for source in shares))
    writer = Writer(folder, tokenizer.end_of_text_id)
    kept = sum(shard.index.documents for shard in writer.whole)
    before = Counts()
    for source in shares:
        for shard in source.shards:
            for document, read, skipped in _documents(shard, writer):
                kept += 1
                writer.add(document, _counts(before.read + read, before.skipped + skipped, kept))
            progress.advance(1)
            check(progress)
        totals = source.index.totals
        before = _counts(before.read + totals.read, before.skipped + totals.skipped, kept)
    return writer.finish(before)


def begun(folder: Path) -> bool:
    """Whether an earlier crew left shares of the source whose shards belong into `folder`."""
    return any(_folders(folder))


def drop_shares(folder: Path, shared: SharedCache | None) -> None:
    """Remove the shares of a source that is whole, here and where it was pushed."""
    for place in _folders(folder):
        if shared:
            shared.drop(place)
        shutil.rmtree(place, ignore_errors=True)


def _documents(shard: Shard, writer: Writer) -> Iterator[tuple[Tokens, int, int]]:
    """The documents that the writer has not seen, with the documents of the share read and skipped at each."""
    fresh = writer.seen.new(shard.hashes)
    starts = shard.documents["start"].astype(np.int64)
    table = np.stack(
        [
            starts + 1,
            starts + shard.lengths,
            shard.documents["bytes"],
            shard.counts["read"],
            shard.counts["skipped"],
        ],
        axis=1,
    )[fresh].astype(np.int64)
    digests = shard.hashes[fresh].tobytes()
    for i, (start, end, n_bytes, read, skipped) in enumerate(table.tolist()):
        yield Tokens(shard.tokens[start:end], n_bytes, digests[16 * i : 16 * i + 16]), read, skipped


def _counts(read: int, skipped: int, kept: int) -> Counts:
    return Counts.model_construct(read=read, duplicates=read - skipped - kept, skipped=skipped)


def _folder(folder: Path, number: int) -> Path:
    return folder.parent.parent / "shares" / f"{folder.name}-{number:05}"


def _folders(folder: Path) -> Iterable[Path]:
    return (folder.parent.parent / "shares").glob(f"{folder.name}-*")
