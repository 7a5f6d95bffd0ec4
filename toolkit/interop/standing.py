"""What is known of an import that stands already, without reading its files again. Needs no torch."""

from pathlib import Path

from pydantic import ValidationError

from toolkit.interop.errors import InteropError
from toolkit.interop.source import Source, find_source
from toolkit.plan.origin import Origin
from toolkit.plan.parents import HUGGING_FACE, IMPORTS
from toolkit.plan.plan import Plan
from toolkit.store.atomic import read_json
from toolkit.store.errors import BadFile
from toolkit.store.runs import RunFolder
from toolkit.store.status import read_status

SOURCE = "source.json"
"""In the run: size and time of each file that was imported, so that an import that stands is known without reading
its files again."""


def find_unsettled(
    run: RunFolder, known: Origin | None, reference: str, revision: str | None = None
) -> Source | None:
    """The source of an import whose files have to be read; None where the import that is `known` stands.

    A name on the hub that was imported once stays as it was: the hub is not asked again. Raises InteropError.
    """
    text = reference.removeprefix(HUGGING_FACE)
    local = Path(text).expanduser().is_dir()
    if (
        known is not None
        and known.reference == reference
        and not local
        and revision in (None, known.revision)
    ):
        return None
    source = find_source(text, revision)
    if known is not None and known.reference == source.reference and _noted(run) == stamps(source):
        return None
    return source


def known_origin(run: RunFolder) -> Origin | None:
    """What a finished import came from. Raises InteropError where the run is none."""
    status = read_status(run)
    if status is None or status.state != "finished":
        return None
    try:
        origin = Plan.model_validate_json(run.plan.read_bytes()).origin
    except (OSError, ValidationError):
        origin = None
    if origin is None:
        raise InteropError(
            f"{run} is there, and is no import that this version of tk reads. Name another: --as."
        )
    return origin


def stamps(source: Source) -> dict[str, list[int]]:
    found = {}
    for name, path in source.files().items():
        info = path.stat()
        found[name] = [info.st_size, info.st_mtime_ns]
    return found


def _noted(run: RunFolder) -> object:
    try:
        return read_json(run.path / SOURCE)
    except (OSError, BadFile):
        return None


def check_same(run: RunFolder, known: Origin, found: Origin) -> None:
    """Raises InteropError where a folder holds something else than what was imported from it."""
    if known.fingerprint == found.fingerprint:
        return
    names = sorted({*known.files, *found.files})
    changed = [name for name in names if known.files.get(name) != found.files.get(name)]
    raise InteropError(
        f"{run} was imported from {known.reference}, and {found.reference} holds something else now: "
        f"{', '.join(changed[:5])}.\n"
        "Two ways on:\n"
        f'  tk import {found.reference} --as NEW_NAME  imports it beside: write parent = "{IMPORTS}/NEW_NAME"\n'
        f"  tk import {found.reference} --replace      sets the old import aside"
    )
