"""Rows with named fields, out of JSONL, JSON, CSV, Parquet and CoNLL files."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
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
    reader = csv.reader(
        lines(path, encoding), delimiter="\t" if ".tsv" in path.suffixes else ",", strict=True
    )
    names: list[str] | None = None
    try:
        for row in reader:
            if names is None:
                names = row
            elif row:
                origin = f"{path}:{reader.line_num}"
                if len(row) != len(names):
                    yield Record({}, origin, f"{len(row)} fields under {len(names)} names")
                else:
                    yield Record(dict(zip(names, row, strict=True)), origin)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}", f"not CSV: {error}") from None


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
    first = 0
    for number, line in enumerate(lines(path, encoding), start=1):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if tokens:
                yield Record({"tokens": tokens, "tags": tags}, f"{path}:{first}")
            tokens, tags = [], []
        elif len(columns) < 2:
            raise DataError(f"{path}:{number}", "a token and its tag were expected, with a space between")
        else:
            first = first if tokens else number
            tokens.append(columns[0])
            tags.append(columns[-1])
    if tokens:
        yield Record({"tokens": tokens, "tags": tags}, f"{path}:{first}")
