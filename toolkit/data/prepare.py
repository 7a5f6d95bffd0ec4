"""From `[data]` to a corpus: read, train the tokenizer, tokenise, pack; each part cached on its own."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolkit.data.alone import alone
from toolkit.data.corpus import PackedSplit
from toolkit.data.crew import Crew, begun, drop_shares, join, tokenise_shares
from toolkit.data.dataset import Dataset
from toolkit.data.errors import DataError
from toolkit.data.pretrained import pretrained
from toolkit.data.progress import Progress, Silent, check
from toolkit.data.rows import SourceRows, pack_source
from toolkit.data.shards import TokenSource, finished
from toolkit.data.shared import SharedCache
from toolkit.data.sources import Reader, open_source
from toolkit.data.split import cutoff, digest
from toolkit.data.tokenise import as_utf8, tokenise
from toolkit.data.tokenizer import TextTokenizer
from toolkit.data.training import SAMPLE, sample, train
from toolkit.plan.corpus import CorpusFacts, SourceFacts, cache_root, write_facts
from toolkit.plan.fingerprint import fingerprint
from toolkit.spec.data import BytesTokenizer, Data, PretrainedTokenizer
from toolkit.store.atomic import write_atomic

_VERSION = 1
"""Raised when the same source and tokenizer would give other shards."""

_SCAN = 512 << 20
"""Characters of each source that the sample is drawn from."""


def prepare(
    data: Data,
    *,
    cache: Path | None = None,
    shared: SharedCache | None = None,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The corpus of a `[data]` section. What an earlier call finished is not done again.

    Shards are kept per source and tokenizer, rows per sequence length and held-out share: other weights,
    another order or more sources tokenise nothing again. (A trained tokenizer is another one when its sources
    are others; name one in `data.tokenizer` to keep it.)

    Args:
        cache: Where shards are kept; `cache_root()` by default.
        shared: Where other machines' shards are taken from, and these are kept too.
        crew: This worker's place among those that do the same at the same time, and divide the sources by it.
        progress: Told how far it is; may stop it.

    Raises:
        DataError: A source is missing, empty, binary, undecodable or too small, or the disk is full.
        PreparationStopped: `progress` asked for it; the next call goes on after the last whole shard.
    """
    root = cache or cache_root()
    watch = progress or Silent()
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        return _prepare(data, root, shared, crew or Crew(), watch)


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Has a full or read-only cache say so. Raises DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                root,
                "the disk is full; whole shards are kept. Free space or set TK_CACHE to another disk",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DataError(
                error.filename or root, f"{error.strerror}; set TK_CACHE to a folder that can be written"
            ) from error
        raise


def _prepare(data: Data, root: Path, shared: SharedCache | None, crew: Crew, progress: Progress) -> Dataset:
    readers = [open_source(source, root) for source in data.sources]  # type: ignore[arg-type]
    keys = [fingerprint(reader.identity()) for reader in readers]
    tokenizer = _tokenizer(data, readers, keys, root, shared, progress)
    tokens: list[TokenSource] = []
    rows: list[SourceRows] = []
    for reader, key in zip(readers, keys, strict=True):
        name = fingerprint([_VERSION, key, tokenizer.fingerprint])[:32]
        folder = root / "tokens" / name
        source = _tokens(reader, key, tokenizer, folder, shared, crew, progress)
        with alone(folder, progress):
            rows.append(
                pack_source(
                    source,
                    sequence_length=data.sequence_length,
                    validation=data.validation,
                    end=tokenizer.end_of_text_id,
                    earlier=tokens,
                    progress=progress,
                )
            )
        tokens.append(source)
    facts = _facts(data, tokenizer, tokens, rows)
    _check_size(data, readers, facts)
    write_facts(data, facts, cache=root)
    weights = [source.weight for source in data.sources]
    trained = [
        (part.train, weight) for part, weight in zip(rows, weights, strict=True) if part.train.facts.rows
    ]
    held_out = [part.validation for part in rows if part.validation.facts.rows]
    return Dataset(
        PackedSplit(tuple(part for part, _ in trained), tuple(weight for _, weight in trained)),
        PackedSplit(tuple(held_out), (1.0,) * len(held_out)),
        tokenizer,
        facts,
    )


def _tokenizer(
    data: Data,
    readers: Sequence[Reader],
    keys: Sequence[str],
    root: Path,
    shared: SharedCache | None,
    progress: Progress,
) -> TextTokenizer:
    """The tokenizer asked for, from a cache or trained now on what is not held out."""
    spec = data.tokenizer
    if isinstance(spec, PretrainedTokenizer):
        return pretrained(spec.path)
    if isinstance(spec, BytesTokenizer):
        return train(spec, [])
    # Neither the order nor the weights of the sources matter: editing them tokenises nothing again.
    identity = [_VERSION, spec.model_dump(mode="json"), data.validation, sorted(set(keys))]
    path = root / "tokenizers" / fingerprint(identity)[:32] / "tokenizer.json"
    with alone(path.parent, progress):
        if not path.exists() and shared and (pulled := shared.pull_tokenizer(path.parent.name, progress)):
            write_atomic(path, pulled.json)
        if not path.exists():
            progress.start("reading", None)
            distinct = dict(zip(keys, readers, strict=True))
            each = SAMPLE[spec.kind] // len(distinct)
            texts = [
                text
                for _, reader in sorted(distinct.items())
                for text in sample(_held_in(reader, data.validation, progress), each)
            ]
            if not texts:
                raise DataError(
                    readers[0].name,
                    "too small: no text beside the held-out one to train a tokenizer on; add documents",
                )
            progress.start("training the tokenizer", None)
            trained = train(spec, texts)
            write_atomic(path, trained.json)
            if shared:
                shared.push_tokenizer(path.parent.name, trained, progress)
        return TextTokenizer.read(path)


def _held_in(reader: Reader, share: float, progress: Progress) -> Iterator[tuple[bytes, str]]:
    limit, scanned = cutoff(share), 0
    for document in reader.documents():
        text = as_utf8(document)
        hashed = digest(text)
        if int.from_bytes(hashed[:8], "little") >= limit and text.strip():
            yield hashed, text.decode()
        scanned += len(text)
        progress.advance(len(text))
        check(progress)
        if scanned > _SCAN:
            return


def _tokens(
    reader: Reader,
    key: str,
    tokenizer: TextTokenizer,
    folder: Path,
    shared: SharedCache | None,
    crew: Crew,
    progress: Progress,
) -> TokenSource:
    """The tokens of a source, found here or in the shared place, or made by this worker or its crew."""

    def found() -> TokenSource | None:
        return finished(folder) or (shared.pull(folder, tokenizer, progress) if shared else None)

    def check_unchanged(made: Path) -> None:
        if fingerprint(reader.identity()) != key:
            shutil.rmtree(made)
            raise DataError(reader.name, "changed while it was read; run again when nothing writes to it")

    shares: list[TokenSource] = []
    if (crew.count > 1 or begun(folder)) and len(reader.shares()) > 1:
        with alone(folder, progress):
            source = found()
        if not source:
            shares = tokenise_shares(reader, tokenizer, folder, crew, shared, progress, check_unchanged)
    with alone(folder, progress):
        source = found()
        if not source:
            if shares:
                source = join(shares, tokenizer, folder, progress)
            else:
                progress.start("tokenising", reader.size)
                source = tokenise(reader, tokenizer, folder, progress)
            check_unchanged(folder)
        if not source.shards:
            raise DataError(reader.name, "empty: there is no text in it")
        if shared:
            shared.push(source, progress)
        drop_shares(folder, shared)
    return source


def _facts(
    data: Data, tokenizer: TextTokenizer, tokens: Sequence[TokenSource], rows: Sequence[SourceRows]
) -> CorpusFacts:
    digests = [source.index.digest for source in tokens]
    return CorpusFacts(
        fingerprint=fingerprint(
            [_VERSION, tokenizer.fingerprint, data.sequence_length, data.validation, digests]
        ),
        vocab_size=tokenizer.vocab_size,
        sources=tuple(
            SourceFacts(
                kind=spec.kind,
                fingerprint=source.index.digest,
                train=part.train.facts,
                validation=part.validation.facts,
                duplicates=source.index.totals.duplicates + part.dropped,
                skipped=source.index.totals.skipped,
            )
            for spec, source, part in zip(data.sources, tokens, rows, strict=True)
        ),
    )


def _check_size(data: Data, readers: Sequence[Reader], facts: CorpusFacts) -> None:
    for reader, source in zip(readers, facts.sources, strict=True):
        total = source.train + source.validation
        if not total.documents:
            raise DataError(reader.name, "every document of it is also in an earlier source; leave it out")
        if total.tokens < data.sequence_length:
            raise DataError(
                reader.name,
                f"too small: {total.tokens} tokens, less than one row of {data.sequence_length}; "
                "add text or lower data.sequence_length",
            )
    if not facts.validation.documents or not facts.train.documents:
        raise DataError(
            readers[0].name,
            f"too small: {(facts.train + facts.validation).documents} document in all, "
            "so none can be held out for validation; add documents",
        )
