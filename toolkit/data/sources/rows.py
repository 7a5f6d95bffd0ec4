"""Files with one document a row: JSONL, CSV and Parquet."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from toolkit.data.errors import DataError
from toolkit.data.sources.document import Document
from toolkit.data.sources.remote import Place
from toolkit.data.sources.text import characters

_LONGEST_LINE = 256 << 20


def read_jsonl(path: Place, text_key: str, encoding: str) -> Iterator[Document]:
    """One JSON object a line; blank lines are passed over.

    Raises:
        DataError: A line is not JSON, has no `text_key`, or holds something else than text there.
    """
    for number, line in enumerate(lines(path, encoding), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{path}:{number}", f"not JSON: {reason}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}", f'an object was expected, as in {{"{text_key}": "…"}}')
        if text_key not in row:
            raise DataError(f"{path}:{number}", missing_key(text_key, row))
        yield Document(as_text(row[text_key], text_key, f"{path}:{number}"), f"{path}:{number}")


def read_csv(path: Place, text_key: str, encoding: str) -> Iterator[Document]:
    """Rows under a header; fields are separated by commas, in `.tsv` files by tabs."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    tabs = ".tsv" in path.suffixes
    reader = csv.reader(lines(path, encoding), delimiter="\t" if tabs else ",", strict=True)
    column = None
    try:
        for row in reader:
            if column is None:
                if text_key not in row:
                    raise DataError(f"{path}:1", missing_key(text_key, row))
                column = row.index(text_key)
            elif row:
                if len(row) <= column:
                    raise DataError(f"{path}:{reader.line_num}", f'the row ends before column "{text_key}"')
                yield Document(row[column], f"{path}:{reader.line_num}")
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}", f"not CSV: {error}") from None


def read_parquet(path: Place, text_key: str) -> Iterator[Document]:
    """One document a row of the column `text_key`."""
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        if text_key not in names:
            raise DataError(path, missing_key(text_key, names))
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=[text_key]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield Document(as_text(value, text_key, f"{path}:{number}"), f"{path}:{number}")


@contextmanager
def open_parquet(path: Place) -> Iterator[Any]:
    """A `ParquetFile`. Raises DataError if it can't be read: Arrow tells of spoiled bytes in many ways."""
    import pyarrow.parquet

    try:
        with ExitStack() as opened:
            place = path if isinstance(path, Path) else opened.enter_context(path.open())
            yield opened.enter_context(pyarrow.parquet.ParquetFile(place, pre_buffer=place is not path))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(path, f"can't be read: {error.strerror}") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(path, f"not a whole Parquet file: {reason}") from None


def as_text(value: object, text_key: str, origin: str) -> str:
    """The text of a row; nothing (null) is an empty text. Raises DataError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(origin, f'"{text_key}" holds {type(value).__name__}, not text')
    return value


def missing_key(text_key: str, names: Iterable[str]) -> str:
    """Says that a row has no such key, and which it has."""
    known = [str(name) for name in names]
    near = get_close_matches(text_key, known, n=1)
    shown = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
    return f'no key "{text_key}"; set text_key to one of: {shown}.' + (
        f" Did you mean {near[0]}?" if near else ""
    )


def lines(path: Place, encoding: str) -> Iterator[str]:
    """Lines with their ends, split at "\\n" alone: JSON text may hold the other separators."""
    pending: list[str] = []
    length = 0
    for text in characters(path, encoding):
        *whole, rest = text.split("\n")
        for line in whole:
            pending.append(line)
            yield "".join(pending) + "\n"
            pending, length = [], 0
        pending.append(rest)
        length += len(rest)
        if length > _LONGEST_LINE:
            raise DataError(path, f"a line is longer than {_LONGEST_LINE >> 20} MB; is this one row a line?")
    if length:
        yield "".join(pending)
