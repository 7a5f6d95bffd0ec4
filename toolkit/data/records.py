"""Rows with named fields, out of JSONL, JSON, CSV, Parquet and CoNLL files."""

import csv
import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from toolkit.data.errors import DataError
from toolkit.data.sources.remote import Place, size_of
from toolkit.data.sources.rows import lines, open_parquet
from toolkit.data.sources.text import characters

Values = Mapping[str, Any]


class Record(NamedTuple):
    """A row: its fields, and where it stands."""

    values: Values
    origin: str
    """`file:line`, or `file:row` where there are no lines."""
    problem: str | None = None
    """Why it could not be read, where only this row is at fault; it has no fields then."""


_LARGEST_JSON = 1 << 30


def read_records(path: Place, form: str, encoding: str) -> Iterator[Record]:
    """The rows of a file whose form is jsonl, json, csv, parquet or conll, those that can't be read among them.

    Raises:
        DataError: The file is not of this form.
    """
    match form:
        case "jsonl":
            return _jsonl(path, encoding)
        case "json":
            return _json(path, encoding)
        case "csv":
            return _csv(path, encoding)
        case "conll":
            return _conll(path, encoding)
        case _:
            return _parquet(path)


def _jsonl(path: Place, encoding: str) -> Iterator[Record]:
    for number, line in enumerate(lines(path, encoding), start=1):
        if line.strip():
            origin = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                yield Record({}, origin, f"not JSON: {reason}")
            else:
                yield _object(row, origin)


def _json(path: Place, encoding: str) -> Iterator[Record]:
    if (size_of(path) or 0) > _LARGEST_JSON:
        raise DataError(path, "too large to be read at once; write one row a line (.jsonl)")
    try:
        rows = json.loads("".join(characters(path, encoding)))
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"not JSON: {error}") from None
    if not isinstance(rows, list):
        raise DataError(path, "a list of objects was expected")
    for number, row in enumerate(rows, start=1):
        yield _object(row, f"{path}:{number}")


def _object(row: object, origin: str) -> Record:
    if not isinstance(row, dict):
        return Record({}, origin, "an object was expected, a row with named fields")
    return Record(row, origin)


def _csv(path: Place, encoding: str) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    numbered = _Lines(lines(path, encoding))
    reader = csv.reader(numbered, delimiter="\t" if ".tsv" in path.suffixes else ",", strict=True)
    names: list[str] | None = None
    while True:
        numbered.begin()
        try:
            row, problem = next(reader), None
        except StopIteration:
            return
        except csv.Error as error:
            row, problem = [], f"not CSV: {error}"
        if names is None:
            if problem:
                raise DataError(f"{path}:{numbered.first}", problem)
            names = row
            continue
        if row and len(row) != len(names):
            problem = f"{len(row)} fields under {len(names)} names"
        if problem:
            yield Record({}, f"{path}:{numbered.first}", problem)
            numbered.give_back()
        elif row:
            yield Record(dict(zip(names, row, strict=True)), f"{path}:{numbered.last}")


class _Lines(Iterator[str]):
    """Lines by their numbers, which a row that proves no row gives back but for its first: a quote that is never
    closed would swallow the good ones behind it.

    Attributes:
        first: Number of the first line since `begin`.
        last: Number of the last.
    """

    def __init__(self, given: Iterator[str]) -> None:
        self._given = given
        self._back: deque[str] = deque()
        self._taken: list[str] = []
        self.last = 0

    @property
    def first(self) -> int:
        return self.last - len(self._taken) + 1

    def begin(self) -> None:
        self._taken.clear()

    def give_back(self) -> None:
        self.last = self.first
        self._back.extendleft(reversed(self._taken[1:]))

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._given)
        self.last += 1
        self._taken.append(line)
        return line


def _parquet(path: Place) -> Iterator[Record]:
    with open_parquet(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield Record(row, f"{path}:{number}")


def _conll(path: Place, encoding: str) -> Iterator[Record]:
    """Columns of tokens, one a line, blank lines between sentences: the first column and the last (CoNLL 2003)."""
    tokens: list[str] = []
    tags: list[str] = []
    first, problem = 0, None
    # The end of a file ends its last sentence as a blank line does.
    for number, line in enumerate(chain(lines(path, encoding), [""]), start=1):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if problem:
                yield Record({}, f"{path}:{first}", problem)
            elif tokens:
                yield Record({"tokens": tokens, "tags": tags}, f"{path}:{first}")
            tokens, tags, problem = [], [], None
        elif problem is None and len(columns) < 2:
            first, problem = number, "a token and its tag were expected, with a space between"
        elif problem is None:
            first = first if tokens else number
            tokens.append(columns[0])
            tags.append(columns[-1])
