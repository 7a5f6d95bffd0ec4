"""What keeps a stage from being carried out."""


class StageError(Exception):
    """A stage that can't be carried out as asked. The message names the input and the way out."""
