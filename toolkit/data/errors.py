"""What can go wrong with data, in words that name the input."""

from pathlib import Path


class DataError(Exception):
    """A source that can't be used as it is. `str()` reads "FILE: MESSAGE".

    Attributes:
        file: The file, data set or cache folder at fault.
        message: What is wrong, and the way out.
    """

    def __init__(self, file: str | Path, message: str) -> None:
        super().__init__(f"{file}: {message}")
        self.file = str(file)
        self.message = message


class PreparationStopped(Exception):  # noqa: N818 - a request that was obeyed, not a fault
    """`Progress.should_stop` asked for an end; the next `prepare` goes on after the last whole shard."""
