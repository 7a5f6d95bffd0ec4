"""Labelled rows as arrays on disk, and batches of rows of like length."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.data.dataset import Arrays
from toolkit.data.order import Order, mix, permute, scramble
from toolkit.store.atomic import fsync_folder, sync, write_atomic

BLOCK = 64
"""Batches whose rows are sorted by length together: enough that neighbours are of like length."""
PIECE = 256
"""Rows of an evaluation that are sorted by length together, so that a first part stays a fair sample."""


class Example(Protocol):
    """A row ready for a model."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Lists of ids (of any length), numbers, or arrays of one shape, by the name a task knows them by."""

    @property
    def tokens(self) -> int:
        """Units of its loss."""

    @property
    def bytes(self) -> int:
        """UTF-8 bytes that the loss is the code length of; 0 where it is of none."""

    @property
    def cut(self) -> bool:
        """Whether the row was longer than the model takes."""


class Index(BaseModel):
    """`index.json`: what the arrays hold. It is written last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    tokens: int
    bytes: int
    cut: int
    skipped: int
    first_skipped: str | None
    """Why the first row was skipped, and where it stands."""
    fields: dict[str, tuple[str, tuple[int, ...] | None]]
    """Type and shape of a row's value; None for lists of any length."""


@dataclass
class Writer:
    """Appends examples to the arrays of a folder."""

    folder: Path
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _fields: dict[str, tuple[str, tuple[int, ...] | None]] = field(default_factory=dict)
    _ends: dict[str, list[int]] = field(default_factory=dict)
    _digests: list[bytes] = field(default_factory=list)
    tokens: int = 0
    n_bytes: int = 0
    cut: int = 0

    def add(self, example: Example, digest: bytes) -> None:
        for name, value in example.fields.items():
            if isinstance(value, list):
                array = np.asarray(value, np.int32)
                self._open(name, ("<i4", None))
                ends = self._ends[name]
                ends.append((ends[-1] if ends else 0) + len(array))
            else:
                array = np.asarray(value)
                array = array.astype({"i": "<i8", "f": "<f4", "u": "u1", "b": "u1"}[array.dtype.kind])
                self._open(name, (array.dtype.str, array.shape))
            self._files[name].write(array.tobytes())
        self._digests.append(digest)
        self.tokens += example.tokens
        self.n_bytes += example.bytes
        self.cut += example.cut

    def finish(self, skipped: Sequence[str]) -> Index:
        for name, ends in self._ends.items():
            self._open(f"{name}.ends", ("<i8", ()))
            self._files[f"{name}.ends"].write(np.array(ends, "<i8").tobytes())
        self._open("digests", ("<u8", ()))
        self._files["digests"].write(b"".join(digest[:8] for digest in self._digests))
        for file in self._files.values():
            file.flush()
            sync(file.fileno())
            file.close()
        fields = {name: form for name, form in self._fields.items() if not name.endswith(".ends")}
        fields.pop("digests")
        index = Index(
            rows=len(self._digests),
            tokens=self.tokens,
            bytes=self.n_bytes,
            cut=self.cut,
            skipped=len(skipped),
            first_skipped=skipped[0] if skipped else None,
            fields=fields,
        )
        fsync_folder(self.folder)
        write_atomic(self.folder / "index.json", index.model_dump_json().encode())
        return index

    def _open(self, name: str, form: tuple[str, tuple[int, ...] | None]) -> None:
        if name not in self._files:
            self._files[name] = (self.folder / f"{name}.bin").open("wb")
            self._fields[name] = form
            if form[1] is None:
                self._ends[name] = []
        elif self._fields[name] != form:
            raise ValueError(f"{name} has shape {form[1]} where the rows before have {self._fields[name][1]}")


def read_index(folder: Path) -> Index | None:
    """The index of a finished folder, or None."""
    try:
        return Index.model_validate_json((folder / "index.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


@dataclass(frozen=True, eq=False)
class Examples:
    """The arrays of a folder, mapped into memory."""

    folder: Path
    index: Index

    @cached_property
    def digests(self) -> NDArray[np.uint64]:
        return self._map("digests", "<u8", ())

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Of the longest list of each row; zeros where rows hold none."""
        lengths = np.zeros(self.index.rows, np.int64)
        for name, (_, shape) in self.index.fields.items():
            if shape is None:
                lengths = np.maximum(lengths, np.diff(self._ends(name), prepend=0))
        return lengths

    def gather(self, numbers: NDArray[np.int64], fill: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        """These rows, lists filled up on the right to the longest; `lengths` counts what is real of `inputs`."""
        rows: dict[str, NDArray[Any]] = {}
        for name, (kind, shape) in self.index.fields.items():
            if shape is not None:
                rows[name] = np.array(self._map(name, kind, shape)[numbers])
                continue
            ends = self._ends(name)
            starts = np.append(0, ends[:-1])[numbers] if len(ends) else ends
            lengths = ends[numbers] - starts
            out = np.full((len(numbers), int(lengths.max(initial=0))), fill.get(name, 0), np.int64)
            values = self._map(name, kind, ())
            for place, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
                out[place, :length] = values[start : start + length]
            rows[name] = out
            if name == "inputs":
                rows["lengths"] = lengths
        return rows

    @cached_property
    def _maps(self) -> dict[str, NDArray[Any]]:
        return {}

    def _ends(self, name: str) -> NDArray[np.int64]:
        return self._map(f"{name}.ends", "<i8", ())

    def _map(self, name: str, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if name not in self._maps:
            path = self.folder / f"{name}.bin"
            flat = np.memmap(path, kind, "r") if path.exists() and path.stat().st_size else np.empty(0, kind)
            self._maps[name] = flat.view(np.ndarray).reshape(-1, *shape)
        return self._maps[name]


@dataclass(frozen=True, eq=False)
class ExampleSplit:
    """Some of the rows of `examples`, in batches of like length.

    Args:
        chosen: Numbers of the rows.
        fill: What lists are filled up with, by name.
    """

    examples: Examples
    chosen: NDArray[np.int64]
    fill: Mapping[str, int]

    @property
    def n_rows(self) -> int:
        return len(self.chosen)

    @property
    def tokens(self) -> int:
        return self.examples.index.tokens

    @property
    def bytes(self) -> int:
        return self.examples.index.bytes

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.examples.lengths[self.chosen]

    def rows(self, step: int, start: int, stop: int, *, seed: int, batch_rows: int) -> Arrays:
        """Rows of a step's batch: every row once an epoch in an order of the epoch's own; within a block of batches
        the rows are sorted by length, and then the batches shuffled, so that little is padding.
        """
        # No block beyond an epoch: a batch would hold the same row several times.
        block = max(1, min(BLOCK, self.n_rows // batch_rows))
        number, place = divmod(step, block)
        samples = np.arange(number * block * batch_rows, (number + 1) * block * batch_rows, dtype=np.int64)
        picks = Order(seed, (1.0,), (self.n_rows,), (0,)).picks(samples).row
        by_length = picks[np.argsort(self.lengths[picks], kind="stable")]
        batch = int(permute(np.array([place]), block, mix(seed, number, 1))[0]) if block > 1 else 0
        mine = by_length[batch * batch_rows : (batch + 1) * batch_rows][start:stop]
        return self.examples.gather(self.chosen[mine], self.fill)

    def table(self, start: int, stop: int) -> Arrays:
        return self.examples.gather(self.chosen[self._table[start:stop]], self.fill)

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        shuffled = permute(np.arange(self.n_rows, dtype=np.int64), self.n_rows, key=0)
        pieces = [shuffled[i : i + PIECE] for i in range(0, len(shuffled), PIECE)]
        return np.concatenate([piece[np.argsort(self.lengths[piece], kind="stable")] for piece in pieces])


def draw(examples: Examples, excluded: Iterable[int], limit: int | None, seed: int) -> NDArray[np.int64]:
    """Numbers of the rows to train on: all but those whose digest is excluded, or `limit` of them by the seed.

    With one seed a larger limit holds the rows of a smaller one.
    """
    out = np.fromiter(excluded, np.uint64)
    numbers = np.flatnonzero(~np.isin(examples.digests, out))
    if limit is None or limit >= len(numbers):
        return numbers
    keys = scramble(examples.digests[numbers], mix(seed))
    return np.sort(numbers[np.argsort(keys, kind="stable")[:limit]])


def write_examples(folder: Path, write: Callable[[Writer], list[str]]) -> Index:
    """Have `write` fill the folder, from nothing; it returns why rows were skipped."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    writer = Writer(folder)
    return writer.finish(write(writer))


def row_bytes(values: Mapping[str, Any]) -> bytes:
    """A row as bytes to be hashed: equal rows give equal bytes."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=_as_text).encode("utf-8", "replace")


def _as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
