"""Text files: opened whatever their compression, decoded strictly, long ones cut into documents."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from toolkit.data.errors import DataError
from toolkit.data.sources.document import Document
from toolkit.data.sources.remote import Place, size_of

_BLOCK = 1 << 20
_LONGEST = 8 << 20
"""Characters in a document of a folder of files: keeps memory flat whatever a file's size."""


@contextmanager
def open_bytes(place: Place) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed by its ending (.gz, .zst)."""
    with place.open("rb") as file:
        if place.suffix == ".gz":
            with gzip.open(file, "rb") as opened:
                yield cast("BinaryIO", opened)
        elif place.suffix == ".zst":
            import pyarrow

            with pyarrow.input_stream(file, compression="zstd") as opened:
                yield opened
        else:
            yield file


def blocks(path: Place) -> Iterator[bytes]:
    """The decompressed bytes of a file, a block at a time. Raises DataError where they can't be had."""
    try:
        with open_bytes(path) as file:
            while block := file.read(_BLOCK):
                yield block
    except EOFError as error:
        raise DataError(path, "the compressed file ends too early; copy it again") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(path, f"not a whole gzip file ({error}); copy it again") from error
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror or error}") from error


def characters(path: Place, encoding: str) -> Iterator[str]:
    """The text of a file, a block at a time, newlines as they are.

    Raises:
        DataError: The file is binary, or not in this encoding.
    """
    try:
        codec = codecs.lookup(encoding).name
        decoder = codecs.getincrementaldecoder("utf-8-sig" if codec == "utf-8" else codec)()
    except LookupError:
        raise DataError(path, f'no encoding is called "{encoding}"; write "utf-8" or "latin-1"') from None
    wide = codec.startswith(("utf-16", "utf-32"))
    position = 0
    for block in _with_end(blocks(path)):
        if not wide and (zero := block.find(b"\0")) >= 0:
            raise DataError(path, f"binary, not text: a zero byte at offset {position + zero}")
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            offset = position - held + error.start
            raise DataError(
                path,
                f'not {encoding}: {error.reason} at byte {offset}; set encoding, as in encoding = "latin-1"',
            ) from None
        position += len(block)
        yield text


def read_text(path: Place, encoding: str, *, alone: bool) -> Iterator[Document]:
    """A text file is one document. A file that is a source of its own (`alone`) is cut at blank lines into
    some 256 documents, so that a share of it can be held out.
    """
    limit = _LONGEST
    if alone:
        limit = min(max((size_of(path) or 0) // 256, 2048), 1 << 20)
    pending, number = "", 0
    for text in characters(path, encoding):
        pending += text
        while len(pending) > 2 * limit:
            end = _cut(pending, limit)
            yield Document(pending[:end], f"{path}#{number}")
            pending, number = pending[end:], number + 1
    while len(pending) > limit and alone:
        end = _cut(pending, limit)
        yield Document(pending[:end], f"{path}#{number}")
        pending, number = pending[end:], number + 1
    yield Document(pending, f"{path}#{number}" if number else str(path))


def _cut(text: str, limit: int) -> int:
    """Where to end a document of at least `limit` characters: the next blank line, else line, else here."""
    for mark in ("\n\n", "\n"):
        found = text.find(mark, limit - len(mark), 2 * limit)
        if found >= 0:
            return found + len(mark)
    return limit


def _with_end(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield from parts
    yield b""
