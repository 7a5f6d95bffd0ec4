"""What the commands refuse, and which exit status an error gets."""

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class BadInput(Exception):  # noqa: N818 - as the other errors that name what was given
    """What was asked for can't be done; the message names the input and the way out."""


def exit_status(error: BaseException) -> int | None:
    """Exit status of an error that its message explains: 2 for bad input, 1 for a failure; None for a fault
    of the program."""
    from toolkit.data.errors import DataError
    from toolkit.interop.errors import InteropError
    from toolkit.plan.errors import PlanError
    from toolkit.spec.errors import SpecErrors
    from toolkit.store.errors import BadName, StoreError, UnknownCheckpoint, UnknownRun

    asked = (BadName, UnknownRun, UnknownCheckpoint)
    if isinstance(error, (BadInput, SpecErrors, PlanError, DataError, InteropError, *asked)):
        return EXIT_BAD_INPUT
    return EXIT_FAILED if isinstance(error, StoreError | OSError) else None
