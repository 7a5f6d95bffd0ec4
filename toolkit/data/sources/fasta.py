"""FASTA files: sequences of letters under a line with a name (Pearson 1988)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.data.errors import DataError
from toolkit.data.sources.document import Document
from toolkit.data.sources.files import Files
from toolkit.data.sources.remote import Place
from toolkit.data.sources.rows import lines
from toolkit.data.sources.share import Share
from toolkit.spec.data import FastaSource, FilesSource


class Fasta:
    """One document a sequence: its letters without line breaks, in upper case."""

    def __init__(self, source: FastaSource, cache: Path | None = None) -> None:
        self._files = Files(FilesSource(kind="files", path=source.path), cache)

    @property
    def name(self) -> str:
        return self._files.name

    @property
    def size(self) -> int | None:
        return self._files.size

    def identity(self) -> dict[str, Any]:
        return {"kind": "fasta", "files": self._files.identity()["files"]}

    def documents(self, skip: int = 0) -> Iterator[Document]:
        return self._share.documents(skip)

    def shares(self) -> list[Share]:
        return self._share.divided()

    @property
    def _share(self) -> Share:
        return Share(self.name, self._files.files, lambda file: read_fasta(file.path))


def read_fasta(path: Place) -> Iterator[Document]:
    """The sequences of a file. Gaps of alignments (`-`, `.`) and stops (`*`) are left out.

    Raises:
        DataError: The file does not begin with a line of `>`.
    """
    name = ""
    letters: list[str] | None = None
    for number, line in enumerate(lines(path, "utf-8"), start=1):
        line = line.strip()
        if line.startswith(">"):
            if letters is not None:
                yield Document("".join(letters), name)
            name, letters = f"{path}:{number}", []
        elif line and not line.startswith(";"):
            if letters is None:
                raise DataError(
                    f"{path}:{number}", 'not FASTA: a line that begins with ">" was expected first'
                )
            letters.append(line.upper().translate(_GAPS))
    if letters is None:
        raise DataError(path, "not FASTA: it holds no sequence")
    yield Document("".join(letters), name)


_GAPS = str.maketrans("", "", "-.*")
