"""From `[data]` with images or sound to batches: decoded and resized once, into arrays that are mapped."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.data.alone import alone
from toolkit.data.dataset import Arrays, Dataset
from toolkit.data.encoders import Encoder, image_encoder
from toolkit.data.errors import DataError
from toolkit.data.examples import Examples, Writer, read_index, row_bytes, write_examples
from toolkit.data.images.pixels import Pixels
from toolkit.data.images.readers import ImageReader, open_images
from toolkit.data.order import Numbers, Order, permute
from toolkit.data.prepare import disk_errors
from toolkit.data.progress import Progress, Silent, check
from toolkit.data.records import Record
from toolkit.data.split import cutoff
from toolkit.plan.corpus import CorpusFacts, SourceFacts, SplitFacts, cache_root, write_facts
from toolkit.plan.fingerprint import fingerprint
from toolkit.spec.data import Data
from toolkit.store.atomic import write_atomic

_VERSION = 1
"""Raised when the same images would give other pixels."""
_AT_ONCE = 256
"""Images decoded between two looks at whether to stop."""
UNLABELLED = -1


class Image(NamedTuple):
    """A row for the arrays; its image is the one unit of its loss."""

    fields: dict[str, Any]
    cut: bool
    tokens: int = 1
    bytes: int = 0


@dataclass(frozen=True, eq=False)
class ImagePart:
    """Some images of one source.

    Attributes:
        chosen: Their numbers in the source.
        labels: Number of the class of every image of the source, UNLABELLED where there is none.
        weight: Of the source in training.
        key: A number from its content: its order doesn't depend on the rest of the mix.
    """

    examples: Examples
    chosen: Numbers
    labels: Numbers
    weight: float
    key: int


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """The training or the held-out images of all sources."""

    parts: tuple[ImagePart, ...]
    labelled: bool

    @property
    def n_rows(self) -> int:
        return sum(len(part.chosen) for part in self.parts)

    @property
    def tokens(self) -> int:
        return self.n_rows

    @property
    def bytes(self) -> int:
        return 0

    def rows(self, step: int, start: int, stop: int, *, seed: int, batch_rows: int) -> Arrays:
        first = step * batch_rows
        picks = self._order(seed).picks(np.arange(first + start, first + stop, dtype=np.int64))
        return self._read(picks.source, picks.row)

    def table(self, start: int, stop: int) -> Arrays:
        numbers = self._table[start:stop]
        ends = np.cumsum([len(part.chosen) for part in self.parts])
        source = np.searchsorted(ends, numbers, side="right")
        return self._read(source, numbers - np.append(0, ends)[source])

    @cached_property
    def _table(self) -> Numbers:
        return permute(np.arange(self.n_rows, dtype=np.int64), self.n_rows, key=0)

    def _order(self, seed: int) -> Order:
        parts = self.parts
        weights, rows = tuple(p.weight for p in parts), tuple(len(p.chosen) for p in parts)
        return Order(seed, weights, rows, tuple(p.key for p in parts))

    def _read(self, source: Numbers, row: Numbers) -> Arrays:
        shape = self.parts[0].examples.index.fields["inputs"][1] or ()
        inputs = np.empty((len(row), *shape), np.uint8)
        labels = np.empty(len(row), np.int64)
        for number, part in enumerate(self.parts):
            places = np.flatnonzero(source == number)
            if len(places):
                images = part.chosen[row[places]]
                inputs[places] = part.examples.gather(images, {})["inputs"]
                labels[places] = part.labels[images]
        return {"inputs": inputs, "label": labels} if self.labelled else {"inputs": inputs}


def prepare_images(data: Data, *, cache: Path | None = None, progress: Progress | None = None) -> Dataset:
    """The images of a `[data]` section. What an earlier call finished is not done again.

    Raises:
        DataError: A source is missing or has too few images, or the disk is full.
        PreparationStopped: `progress` asked for it.
    """
    root, watch = cache or cache_root(), progress or Silent()
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        return _prepare(data, root, watch)


def _prepare(data: Data, root: Path, progress: Progress) -> Dataset:
    found: list[tuple[Examples, list[str], str]] = []
    for source in data.sources:
        reader = open_images(source, root)  # type: ignore[arg-type]
        encoder = image_encoder(data, source)
        digest = fingerprint([_VERSION, reader.identity(), encoder.identity()])
        folder = root / "images" / digest[:32]
        with alone(folder, progress):
            if read_index(folder / "pixels") is None or not (folder / "names.json").exists():
                _decode(reader, encoder, folder, progress)
        index = read_index(folder / "pixels")
        assert index is not None
        names = json.loads((folder / "names.json").read_bytes())
        found.append((Examples(folder / "pixels", index), names, digest))
    labels = tuple(sorted({name for _, names, _ in found for name in names}, key=_natural))
    train, held_out, facts = _split(data, found, labels)
    corpus = CorpusFacts(
        fingerprint=fingerprint([_VERSION, data.validation, [digest for *_, digest in found]]),
        vocab_size=1,
        sources=facts,
        labels=labels,
        shape=data.image_shape,
    )
    write_facts(data, corpus, cache=root)
    return Dataset(ImageSplit(train, bool(labels)), ImageSplit(held_out, bool(labels)), None, corpus)


def _split(
    data: Data, found: list[tuple[Examples, list[str], str]], labels: tuple[str, ...]
) -> tuple[tuple[ImagePart, ...], tuple[ImagePart, ...], tuple[SourceFacts, ...]]:
    """Equal images are kept once; a share is held out by their content, at least one image."""
    seen: NDArray[np.uint64] = np.empty(0, np.uint64)
    train, held_out, facts = [], [], []
    numbers = {name: number for number, name in enumerate(labels)}
    for (examples, names, digest), source in zip(found, data.sources, strict=True):
        digests = examples.digests
        first = np.zeros(len(digests), bool)
        first[np.unique(digests, return_index=True)[1]] = True
        fresh = first & ~np.isin(digests, seen)
        seen = np.concatenate([seen, digests])
        if len(kept := digests[fresh]) < 2:
            raise DataError(source.kind, f"too small: {len(kept)} images of its own; add images")
        limit = cutoff(data.validation, kept.reshape(-1, 1))
        chosen = fresh & (digests < np.uint64(limit))
        own = examples.gather(np.arange(len(digests)), {})["label"]
        table = np.array([numbers[name] for name in names] + [UNLABELLED], np.int64)
        parts = [
            ImagePart(examples, np.flatnonzero(mask), table[own], source.weight, int(digest[:15], 16))
            for mask in (fresh & ~chosen, chosen)
        ]
        train.append(parts[0])
        held_out.append(parts[1])
        positions = [SplitFacts(documents=n, bytes=0, tokens=n, rows=n) for n in map(_count, parts)]
        facts.append(
            SourceFacts(
                kind=source.kind,
                fingerprint=digest,
                train=positions[0],
                validation=positions[1],
                duplicates=int((~fresh).sum()),
                skipped=examples.index.skipped,
                cut=examples.index.cut,
                first_skipped=examples.index.first_skipped,
            )
        )
    return tuple(p for p in train if len(p.chosen)), tuple(held_out), tuple(facts)


def _count(part: ImagePart) -> int:
    return len(part.chosen)


def _decode(reader: ImageReader, encoder: Encoder, folder: Path, progress: Progress) -> None:
    """Fill the folder: pixels, numbers of classes by the order they came in, and their names."""
    progress.start("decoding images", None)
    names: dict[str, int] = {}

    def write(writer: Writer) -> list[str]:
        skipped = []
        records = reader.records()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while batch := list(islice(records, _AT_ONCE)):
                for record, result in zip(batch, pool.map(lambda r: _one(r, encoder), batch), strict=True):
                    if isinstance(result, str):
                        skipped.append(f"{record.origin}: {result}")
                        continue
                    pixels, digest, cut = result
                    label = record.values["label"]
                    number = UNLABELLED if label is None else names.setdefault(label, len(names))
                    writer.add(Image({"inputs": pixels, "label": number}, cut), digest)
                progress.advance(len(batch))
                check(progress)
        return skipped

    index = write_examples(folder / "pixels", write)
    if not index.rows:
        raise DataError(reader.name, f"no image of it can be read. The first: {index.first_skipped}")
    write_atomic(folder / "names.json", json.dumps(list(names)).encode())


def _one(record: Record, encoder: Encoder) -> tuple[Pixels, bytes, bool] | str:
    """Pixels, hash of the content and whether it was cut; or why it can't be read."""
    try:
        encoded = encoder.encode([record.values["image"]])
        # As labelled rows are hashed, so that a fine-tune on the same rows holds out the same ones.
        row = {encoder.default_key: record.values["image"], "label": record.values["label"]}
        return encoded.fields["inputs"], hashlib.blake2b(row_bytes(row), digest_size=16).digest(), encoded.cut
    except ValueError as error:
        return str(error)


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by their value, before other names."""
    number = name.isdecimal()
    return (not number, float(name) if number else 0.0, name)
