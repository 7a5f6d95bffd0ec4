"""From labelled rows to a data set: read, split, encode; cached by the content of the rows and what is made of
them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolkit.data.alone import alone
from toolkit.data.dataset import Dataset
from toolkit.data.errors import DataError
from toolkit.data.examples import (
    Example,
    Examples,
    ExampleSplit,
    Index,
    Writer,
    draw,
    read_index,
    row_bytes,
    write_examples,
)
from toolkit.data.labelled import open_labelled
from toolkit.data.prepare import disk_errors
from toolkit.data.progress import Progress, Silent, check
from toolkit.data.records import Record, Values
from toolkit.data.split import cutoff
from toolkit.data.tokenizer import TextTokenizer
from toolkit.plan.corpus import CorpusFacts, SourceFacts, SplitFacts, cache_root, write_labelled_facts
from toolkit.plan.fingerprint import fingerprint
from toolkit.spec.labelled import Labelled
from toolkit.store.atomic import write_atomic
from toolkit.store.text import sanitize

_VERSION = 1
"""Raised when the same rows would be made into other arrays."""
_TRAIN, _VALIDATION = "train", "validation"


class Form(Protocol):
    """How a target reads a row."""

    @property
    def fill(self) -> Mapping[str, int]:
        """What lists are filled up with, by name."""

    def identity(self) -> Any:
        """JSON that changes whenever the examples may."""

    def labels(self, rows: Iterable[Values]) -> tuple[str, ...]:
        """Names of the classes; none for a target without classes. Raises ValueError for a row without one."""

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        """Raises ValueError for a row that can't be used."""


def prepare_labelled(
    source: Labelled,
    form: Form,
    *,
    key: str,
    tokenizer: TextTokenizer | None,
    seed: int,
    skip_bad: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set of a labelled source.

    Args:
        form: What a row is made into.
        key: Under which the facts are kept for the plan.
        seed: Draws the rows, where `source.limit` asks for fewer.
        skip_bad: Count rows that can't be used, instead of stopping at the first.

    Raises:
        DataError: The source is missing or empty, a row can't be used, or the disk is full.
        PreparationStopped: `progress` asked for it.
    """
    root = cache or cache_root()
    watch = progress or Silent()
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        return _prepare(source, form, key, tokenizer, seed, skip_bad, root, watch)


def _prepare(
    source: Labelled,
    form: Form,
    key: str,
    tokenizer: TextTokenizer | None,
    seed: int,
    skip_bad: bool,
    root: Path,
    progress: Progress,
) -> Dataset:
    reader = open_labelled(source, root)
    identity = [_VERSION, reader.identity(), form.identity(), source.validation, skip_bad]
    digest = fingerprint(identity)
    folder = root / "examples" / digest[:32]
    with alone(folder, progress):
        labels_file = folder / "labels.json"
        rows = _Rows(reader, source.validation, progress)
        parts = {name: read_index(folder / name) for name in (_TRAIN, _VALIDATION)}
        if not all(parts.values()) or not labels_file.exists():
            progress.start("reading labelled rows", None)
            labels = _labels(form, rows, reader.name)
            for name in (_TRAIN, _VALIDATION):
                progress.start(f"encoding the {name} rows", None)
                parts[name] = _write(folder / name, form, labels, rows.of(name), skip_bad)
            write_atomic(labels_file, json.dumps(labels).encode())
        labels = tuple(json.loads(labels_file.read_bytes()))
    indices = [index for index in parts.values() if index is not None]
    train, held_out = (
        Examples(folder / name, index) for name, index in zip((_TRAIN, _VALIDATION), indices, strict=True)
    )
    if not train.index.rows or not held_out.index.rows:
        what = "no rows to train on" if not train.index.rows else "no held-out rows"
        raise DataError(reader.name, f"too small: {what}; add rows or name validation rows")
    chosen = draw(train, held_out.digests.tolist(), source.limit, seed)
    if not len(chosen):
        raise DataError(reader.name, "every row is also a held-out one; nothing is left to train on")
    splits = (
        ExampleSplit(train, chosen, form.fill),
        ExampleSplit(held_out, np.arange(held_out.index.rows, dtype=np.int64), form.fill),
    )
    facts = _facts(source, digest, labels, tokenizer, splits, train.index.rows)
    write_labelled_facts(key, facts, cache=root)
    return Dataset(*splits, tokenizer, facts)


class _Rows:
    """The rows of each split; a share is held out by hash where the source names none."""

    def __init__(self, reader: Any, share: float, progress: Progress) -> None:
        self._reader = reader
        self._limit = cutoff(share)
        self._progress = progress

    def of(self, split: str) -> Iterator[tuple[Record, bytes]]:
        named = self._reader.validation()
        rows = named if split == _VALIDATION and named is not None else self._reader.train()
        for record in rows:
            digest = hashlib.blake2b(row_bytes(record.values), digest_size=16).digest()
            held_out = int.from_bytes(digest[:8], "little") < self._limit
            if named is None and held_out != (split == _VALIDATION):
                continue
            self._progress.advance(1)
            check(self._progress)
            yield record, digest


def _labels(form: Form, rows: _Rows, name: str) -> tuple[str, ...]:
    origin = name

    def values() -> Iterator[Values]:
        nonlocal origin
        for record, _ in rows.of(_TRAIN):
            if record.problem:
                continue
            origin = record.origin
            yield record.values
        origin = name

    try:
        return form.labels(values())
    except ValueError as error:
        raise DataError(origin, str(error)) from error


def _write(
    folder: Path, form: Form, labels: tuple[str, ...], rows: Iterator[tuple[Record, bytes]], skip_bad: bool
) -> Index:
    def write(writer: Writer) -> list[str]:
        skipped = []
        for record, digest in rows:
            try:
                if record.problem:
                    raise ValueError(record.problem)
                example = form.example(record.values, labels)
            except ValueError as error:
                if not skip_bad:
                    raise DataError(
                        record.origin, f'{error}. Mend the row, or pass over such rows: on_bad_row = "skip"'
                    ) from error
                skipped.append(sanitize(f"{record.origin}: {error}"))
                continue
            writer.add(example, digest)
        return skipped

    return write_examples(folder, write)


def _facts(
    source: Labelled,
    digest: str,
    labels: tuple[str, ...],
    tokenizer: TextTokenizer | None,
    splits: tuple[ExampleSplit, ExampleSplit],
    train_rows: int,
) -> CorpusFacts:
    def split_facts(split: ExampleSplit) -> SplitFacts:
        share = split.n_rows / max(split.examples.index.rows, 1)
        return SplitFacts(
            documents=split.n_rows,
            bytes=round(split.bytes * share),
            tokens=round(split.tokens * share),
            rows=split.n_rows,
        )

    train, held_out = splits
    shapes = [
        shape for _, shape in train.examples.index.fields.values() if shape is not None and len(shape) == 3
    ]
    limit = source.limit if source.limit is not None and source.limit < train_rows else None
    return CorpusFacts(
        fingerprint=fingerprint([digest, limit]),
        vocab_size=tokenizer.vocab_size if tokenizer else 1,
        sources=(
            SourceFacts(
                kind=source.kind,
                fingerprint=digest,
                train=split_facts(train),
                validation=split_facts(held_out),
                duplicates=0 if limit else train_rows - train.n_rows,
                skipped=train.examples.index.skipped + held_out.examples.index.skipped,
                cut=train.examples.index.cut + held_out.examples.index.cut,
                first_skipped=train.examples.index.first_skipped or held_out.examples.index.first_skipped,
            ),
        ),
        labels=labels,
        shape=shapes[0] if shapes else (),
        mean_length=float(train.lengths.mean()),
        longest=int(max(train.lengths.max(), held_out.lengths.max())),
    )
