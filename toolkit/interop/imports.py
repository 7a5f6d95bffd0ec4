"""Models of others as ordinary runs: `hf:FOLDER_OR_NAME` becomes `runs/hf/NAME`, with one checkpoint at step 0."""

from pathlib import Path

from safetensors.torch import save_file

from toolkit.data.tokenizer import TextTokenizer
from toolkit.engine.checkpointing import PLAN, STATE, State
from toolkit.engine.console import Console
from toolkit.engine.tensors import SUFFIX, WEIGHTS
from toolkit.engine.versions import versions
from toolkit.interop.config import Described
from toolkit.interop.errors import InteropError
from toolkit.interop.hugging_face import ImportedModel, from_hugging_face
from toolkit.interop.source import Source, describe, read_origin, read_tokenizer
from toolkit.interop.standing import SOURCE, check_same, find_unsettled, known_origin, stamps
from toolkit.plan.imported import imported_plan
from toolkit.plan.origin import Origin
from toolkit.plan.parents import IMPORTS, import_name
from toolkit.store.atomic import to_json, write_atomic
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.children import children
from toolkit.store.errors import StoreError
from toolkit.store.events import append_event
from toolkit.store.lease import Lease, hold
from toolkit.store.runs import RunFolder, set_aside
from toolkit.store.status import Status, write_status


def import_parent(
    reference: str,
    root: Path,
    *,
    name: str | None = None,
    revision: str | None = None,
    replace: bool = False,
    yes: bool = False,
) -> RunFolder:
    """The run of an imported model, made now unless it stands already; `name` is its stage, in place of the path's.

    A name on the hub that was imported once stays as it was: the hub is not asked again. `replace` sets an import
    aside, also one that other runs came from if `yes`.
    Raises InteropError for what can't be read, and where the run is an import of something else.
    """
    run = RunFolder(root, IMPORTS, name or import_name(reference))
    known = None if replace else known_origin(run)
    source = find_unsettled(run, known, reference, revision)
    if source is None:
        return run
    noted = stamps(source)
    with Console() as console:
        described = describe(source)
        origin = _read_origin(source, described, console)
        if known is not None:
            check_same(run, known, origin)
            write_atomic(run.path / SOURCE, to_json(noted))
            return run
        tokenizer = read_tokenizer(source, described)
        model = from_hugging_face(source.folder, adapter=source.adapter, dtype=None)
        if run.exists():
            _make_room(run, replace=replace, yes=yes)
        run.create()
        with hold(run) as lease:
            _write(lease, origin, model, tokenizer)
            write_atomic(run.path / SOURCE, to_json(noted))
        console.say(f"imported {origin.reference} as {run}")
        for note in origin.notes:
            console.warn(note)
    return run


def _read_origin(source: Source, described: Described, console: Console) -> Origin:
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        console.advance(done)

    sizes = (path.stat().st_size for path in source.files().values())
    console.start_phase(f"reading {source.reference}", sum(sizes))
    origin = read_origin(source, described, advance)
    console.end_phase()
    return origin


def _make_room(run: RunFolder, *, replace: bool, yes: bool) -> None:
    """Set aside an import that was not finished, or that is to be replaced."""
    orphans = sorted({str(child.run) for child in children(run)})
    if replace and orphans and not yes:
        raise InteropError(
            f"{', '.join(orphans)} came from {run}, and can't be told from it once it is replaced. Add --yes to "
            "replace it all the same, or --as NEW_NAME to import beside it."
        )
    with hold(run):
        set_aside(run)


def _write(lease: Lease, origin: Origin, model: ImportedModel, tokenizer: TextTokenizer | None) -> None:
    run = lease.run
    append_event(run, "created", origin=origin.model_dump(mode="json"))
    append_event(run, "started", attempt=1, versions=versions())
    write_status(run, Status(state="preparing"))
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state.values())
    plan = imported_plan(run.name, run.stage, origin, model.architecture, size, has_words=model.has_words)
    frozen = plan.model_dump_json(indent=1).encode()

    def write(folder: Path) -> None:
        save_file(model.state, folder / f"{WEIGHTS}{SUFFIX}")
        files = {
            **(tokenizer.files if tokenizer else {}),
            PLAN: frozen,
            STATE: State().model_dump_json(indent=1).encode(),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)

    try:
        checkpoint = CheckpointStore(run).commit(
            0,
            write,
            info={
                "metrics": {},
                "fingerprint": plan.fingerprint,
                "versions": versions(),
                "run": str(run),
                "origin": origin.model_dump(mode="json"),
            },
            before_rename=lease.check,
        )
    except (StoreError, OSError) as error:
        append_event(run, "failed", attempt=1, reason=str(error))
        write_status(run, Status(state="failed", reason=str(error)))
        raise
    write_atomic(run.plan, frozen)
    append_event(run, "checkpoint", id=checkpoint.id, step=0, metrics={}, parents=[])
    append_event(run, "finished", attempt=1, step=0, reason=None)
    write_status(run, Status(state="finished", reason=f"imported from {origin.reference}"))
