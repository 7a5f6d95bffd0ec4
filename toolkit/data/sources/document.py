"""What every source yields, and what a source is."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol


class Document(NamedTuple):
    """One text, and where it came from (a file, `FILE:LINE`, `DATASET:ROW`)."""

    text: str
    origin: str


class Part(Protocol):
    """A source, or a share of it, as it is read."""

    @property
    def name(self) -> str:
        """For messages: the path or the data set."""

    @property
    def size(self) -> int | None:
        """Bytes of text to be read, where that is known."""

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """The documents in a fixed order, from number `skip` on. A row without text is an empty document."""


class Reader(Part, Protocol):
    """An opened source."""

    def identity(self) -> dict[str, Any]:
        """JSON that changes whenever the documents may have. Raises DataError if the source is missing."""

    def shares(self) -> Sequence[Part]:
        """What several workers may read at once: one after another they hold the same documents. None where the
        source can't be divided."""
