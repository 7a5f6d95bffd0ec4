"""What can go wrong between this toolkit and another's files."""


class InteropError(Exception):
    """A model can't be written for, or read from, other software; the message names the file or option."""
