"""What the store can refuse, in words that name the run or file and the way out."""

# ruff: noqa: N818

from pathlib import Path


class StoreError(Exception):
    """The base of every error of the store."""


class BadName(StoreError):
    """A name of a run, a stage or a checkpoint that cannot be one."""


class UnknownRun(StoreError):
    """No such run in the runs folder."""


class BadFile(StoreError):
    """A file of a run that does not hold what it should."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class DiskFull(StoreError):
    """No space was left while writing; nothing that was there before is lost."""


class RunHeld(StoreError):
    """Another process writes this run."""


class LeaseLost(StoreError):
    """Another process took this run over; this one must write nothing more."""


class CorruptCheckpoint(StoreError):
    """A checkpoint whose files are not those of its manifest."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class UnknownCheckpoint(StoreError):
    """No such checkpoint in the run."""


class NoGoodCheckpoint(StoreError):
    """The run has checkpoints, and not one of them is intact."""
