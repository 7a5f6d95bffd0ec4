"""What can go wrong with data, in words that name the input."""


class DataError(Exception):
    """A source that can't be used as it is. `str()` reads "FILE: MESSAGE".

    Attributes:
        file: The file, data set or cache folder at fault, as a text.
        message: What is wrong, and the way out.
    """

    def __init__(self, file: object, message: str) -> None:
        super().__init__(f"{file}: {message}")
        self.file = str(file)
        self.message = message


class PreparationStopped(Exception):  # noqa: N818 - a request that was obeyed, not a fault
    """`Progress.should_stop` asked for an end; the next `prepare` goes on after the last whole shard."""
