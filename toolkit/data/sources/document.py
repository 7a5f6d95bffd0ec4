"""What every source yields, and what a source is."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol


class Document(NamedTuple):
    """One text, and where it came from (a file, `FILE:LINE`, `DATASET:ROW`)."""

    text: str
    origin: str


class Reader(Protocol):
    """An opened source."""

    @property
    def name(self) -> str:
        """For messages: the path or the data set."""

    @property
    def size(self) -> int | None:
        """Bytes of text to be read, where that is known."""

    def identity(self) -> dict[str, Any]:
        """JSON that changes whenever the documents may have. Raises DataError if the source is missing."""

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """The documents in a fixed order, from number `skip` on. A row without text is an empty document."""
