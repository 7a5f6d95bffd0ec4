"""Where documents come from: one file a kind of source."""

from collections.abc import Iterator
from pathlib import Path

from toolkit.data.sources.document import Document, Part, Reader
from toolkit.data.sources.fasta import Fasta
from toolkit.data.sources.files import Files
from toolkit.data.sources.hub import Hub
from toolkit.data.sources.python_stdlib import PythonStdlib
from toolkit.spec.data import FastaSource, FilesSource, PythonStdlibSource, TextSource

__all__ = ["Document", "Part", "Reader", "documents", "open_source"]


def open_source(source: TextSource, cache: Path | None = None) -> Reader:
    """The reader of a source. `cache` is where hashes of unchanged files are remembered."""
    if isinstance(source, PythonStdlibSource):
        return PythonStdlib()
    if isinstance(source, FilesSource):
        return Files(source, cache)
    if isinstance(source, FastaSource):
        return Fasta(source, cache)
    return Hub(source, cache)


def documents(source: TextSource) -> Iterator[Document]:
    """All documents of a source in a fixed order.

    Raises:
        DataError: A file is missing, empty, binary or undecodable, or a row has no such text.
    """
    return open_source(source).documents()
