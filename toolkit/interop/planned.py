"""The plan of an import before it is made. Needs no torch, and writes nothing."""

from pathlib import Path

from toolkit.interop.folder import weight_files
from toolkit.interop.source import describe, has_words, read_origin, read_tokenizer
from toolkit.interop.standing import check_same, find_unsettled, known_origin
from toolkit.plan.imported import imported_plan
from toolkit.plan.parents import IMPORTS, import_name
from toolkit.plan.plan import Plan
from toolkit.store.runs import RunFolder


def plan_import(reference: str, root: Path) -> Plan | None:
    """The plan that `hf:FOLDER_OR_NAME` would be kept under; None where it is imported already.

    The folder's files are read to be hashed. Raises InteropError and DataError as `import_parent` does, but for what
    only the weights show.
    """
    run = RunFolder(root, IMPORTS, import_name(reference))
    known = known_origin(run)
    source = find_unsettled(run, known, reference)
    if source is None:
        return None
    described = describe(source)
    origin = read_origin(source, described)
    if known is not None:
        check_same(run, known, origin)
        return None
    read_tokenizer(source, described)
    return imported_plan(
        run.name,
        run.stage,
        origin,
        described.architecture,
        sum((source.folder / file).stat().st_size for file in weight_files(source.folder)),
        has_words=has_words(source, described),
    )
