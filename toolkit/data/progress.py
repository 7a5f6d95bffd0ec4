"""What preparation tells its caller, and how the caller stops it."""

from typing import Protocol

from toolkit.data.errors import PreparationStopped


class Progress(Protocol):
    """Told how far preparation has come; asked whether to go on."""

    def start(self, phase: str, total: int | None) -> None:
        """A phase begins: "reading", "training the tokenizer", "tokenising", "tokenising share …", "joining
        shares", "packing", "pulling shards" or "pushing shards".

        `total` is its length in bytes of text (of the last four: shards), or None where it can't be known before.
        """

    def advance(self, n: int) -> None:
        """`n` more bytes or shards are done."""

    def note(self, text: str) -> None:
        """Something that a user should know, though the work goes on."""

    def should_stop(self) -> bool:
        """True ends the preparation with `PreparationStopped`, losing one unfinished shard at most."""


class Silent:
    """Progress that nobody watches."""

    def start(self, phase: str, total: int | None) -> None:
        pass

    def advance(self, n: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def should_stop(self) -> bool:
        return False


def check(progress: Progress) -> None:
    """Raises PreparationStopped once a stop has been asked for."""
    if progress.should_stop():
        raise PreparationStopped("stopped while preparing the data; run again to go on from there")
