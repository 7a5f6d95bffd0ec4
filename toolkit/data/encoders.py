"""From a field of a row to what a trunk reads, by the parent's modality."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from toolkit.data.tokenizer import TextTokenizer


class Encoded(NamedTuple):
    """The input of a row: token ids, or an array of fixed shape."""

    inputs: Any
    cut: bool
    """Whether it was longer than the model takes."""


class Encoder(Protocol):
    """Turns the fields of a row into a trunk's inputs."""

    default_key: str
    """The field that holds the input where the spec doesn't say."""
    fill: int
    """What the inputs are padded with."""

    def encode(self, parts: Sequence[Any]) -> Encoded:
        """One or two fields of a row. Raises ValueError for what can't be read."""

    def identity(self) -> Any:
        """JSON that changes whenever the result may."""


class TextEncoder:
    """A text as `EOT ids`, as documents begin in pretraining; a pair has an EOT between. Cut at the end, of a pair
    the longer one first.
    """

    default_key = "text"

    def __init__(self, tokenizer: TextTokenizer, longest: int) -> None:
        self.tokenizer = tokenizer
        self._longest = longest
        self.fill = tokenizer.end_of_text_id

    def encode(self, parts: Sequence[Any]) -> Encoded:
        ids = [self.tokenizer.encode(as_text(part)) for part in parts]
        if not any(ids):
            raise ValueError("the text is empty")
        room = self._longest - len(parts)
        excess = sum(map(len, ids)) - room
        if excess > 0:
            long, *short = sorted(ids, key=len, reverse=True)
            kept = max(len(long) - excess, -(-room // len(ids)))
            del long[kept:]
            for other in short:
                del other[room - kept :]
        joined = [i for part in ids for i in (self.fill, *part)]
        return Encoded(joined, excess > 0)

    def identity(self) -> Any:
        return ["text", self.tokenizer.fingerprint, self._longest]


def as_text(value: object) -> str:
    """A field that must hold text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"text was expected, not {type(value).__name__}")  # noqa: TRY004 - of the row, not the code
    return value
