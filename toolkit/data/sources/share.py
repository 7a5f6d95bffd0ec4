"""Files of a source, one after another, and the shares that several workers may read at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from toolkit.data.sources.document import Document
from toolkit.data.sources.remote import Place, size_of

SHARE_BYTES = 256 << 20
"""Bytes of files after which a share is closed: none is torn, so a file larger than this is a share of its own."""
_SMALLEST = 1 << 20
_SHARES = 64
"""Of a source too small to fill so many, shares are smaller."""
COMPRESSED = {".gz", ".zst"}


@dataclass(frozen=True)
class File:
    name: str
    path: Place


@dataclass(frozen=True)
class Share:
    """Some files of a source, in the order of their names.

    Attributes:
        name: For messages.
        read: The documents of a file.
    """

    name: str
    files: Sequence[File]
    read: Callable[[File], Iterator[Document]]

    @property
    def size(self) -> int | None:
        """Bytes of text to be read, where that is known."""
        plain = all(file.path.suffix not in COMPRESSED for file in self.files)
        sizes = [size for file in self.files if (size := size_of(file.path)) is not None]
        return sum(sizes) if plain and len(sizes) == len(self.files) else None

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """The documents in a fixed order, from number `skip` on."""
        return islice(chain.from_iterable(map(self.read, self.files)), skip, None)

    def divided(self) -> "list[Share]":
        """Shares that hold the same documents in the same order. They depend on the files alone, not on who reads
        them."""
        sizes = [SHARE_BYTES if (size := size_of(file.path)) is None else size for file in self.files]
        limit = min(SHARE_BYTES, max(_SMALLEST, sum(sizes) // _SHARES))
        shares: list[list[File]] = [[]]
        filled = 0
        for file, size in zip(self.files, sizes, strict=True):
            if filled >= limit:
                shares.append([])
                filled = 0
            shares[-1].append(file)
            filled += size
        return [Share(str(files[0].path), files, self.read) for files in shares]
