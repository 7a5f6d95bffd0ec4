"""Models of others as ordinary runs: `hf:FOLDER_OR_NAME` becomes `runs/hf/NAME`, with one checkpoint at step 0."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from safetensors.torch import save_file

from toolkit.data.errors import DataError
from toolkit.data.tokenizer import CONFIG, FILE, TextTokenizer
from toolkit.engine.checkpointing import PLAN, STATE, State
from toolkit.engine.console import Console
from toolkit.engine.tensors import SUFFIX, WEIGHTS
from toolkit.engine.versions import versions
from toolkit.interop.config import read_config
from toolkit.interop.errors import InteropError
from toolkit.interop.folder import (
    ADAPTER_CONFIG,
    MODEL_CONFIG,
    begin_of_text,
    chat_template,
    end_of_text,
    files_of,
    hash_files,
    read_object,
)
from toolkit.interop.hub import download
from toolkit.interop.hugging_face import ImportedModel, from_hugging_face
from toolkit.interop.peft import base_of
from toolkit.plan.imported import imported_plan
from toolkit.plan.origin import Origin
from toolkit.plan.parents import HUGGING_FACE, IMPORTS, import_name
from toolkit.plan.plan import Plan
from toolkit.spec.model import GPTArchitecture
from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.children import children
from toolkit.store.errors import BadFile, StoreError
from toolkit.store.events import append_event
from toolkit.store.lease import Lease, hold
from toolkit.store.runs import RunFolder, set_aside
from toolkit.store.status import Status, read_status, write_status

SOURCE = "source.json"
"""In the run: size and time of each file that was imported, so that an import that stands is known without reading
its files again."""
_CODE = "auto_map"


class Source(NamedTuple):
    """Where a model lies: a whole one, or an adapter and its base."""

    reference: str
    folder: Path
    """Of the whole model."""
    adapter: Path | None = None
    base: str | None = None
    """What the adapter calls its base."""
    revision: str | None = None

    def files(self) -> dict[str, Path]:
        """The files that are read, by a name of their own."""
        found = {name: self.folder / name for name in files_of(self.folder)}
        if self.adapter is not None:
            found = {f"base/{name}": path for name, path in found.items()}
            found |= {name: self.adapter / name for name in files_of(self.adapter)}
        return found


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
    text = reference.removeprefix(HUGGING_FACE)
    run = RunFolder(root, IMPORTS, name or import_name(reference))
    known = None if replace else _known(run)
    local = Path(text).expanduser().is_dir()
    if (
        known is not None
        and known.reference == reference
        and not local
        and revision in (None, known.revision)
    ):
        return run
    source = _find(text, revision)
    stamps = _stamps(source)
    if known is not None and known.reference == source.reference and _noted(run) == stamps:
        return run
    with Console() as console:
        origin = _origin(source, console)
        if known is not None:
            if known.fingerprint != origin.fingerprint:
                raise InteropError(_differs(run, known, origin))
            write_atomic(run.path / SOURCE, to_json(stamps))
            return run
        model, tokenizer = _read(source, origin)
        if run.exists():
            _make_room(run, replace=replace, yes=yes)
        run.create()
        with hold(run) as lease:
            _write(lease, origin, model, tokenizer)
            write_atomic(run.path / SOURCE, to_json(stamps))
        console.say(f"imported {origin.reference} as {run}")
        for note in origin.notes:
            console.warn(note)
    return run


def _known(run: RunFolder) -> Origin | None:
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


def _find(text: str, revision: str | None) -> Source:
    folder = Path(text).expanduser()
    if folder.is_dir():
        reference, commit = f"{HUGGING_FACE}{folder.resolve()}", None
    else:
        folder = download(text, revision)
        reference, commit = f"{HUGGING_FACE}{text}", folder.name
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / MODEL_CONFIG).is_file():
        return Source(reference, folder, revision=commit)
    name = base_of(folder)
    base = next((path for path in (Path(name).expanduser(), folder / name) if path.is_dir()), None)
    if base is None:
        try:
            base = download(name)
        except InteropError as error:
            raise InteropError(
                f"{folder / ADAPTER_CONFIG}: its base can't be had. {error} Or write the base's folder as "
                "base_model_name_or_path there."
            ) from error
    if (base / ADAPTER_CONFIG).is_file() and not (base / MODEL_CONFIG).is_file():
        raise InteropError(f"{folder}: its base {name} is an adapter too. Merge that first, with peft.")
    return Source(reference, base, folder, name, commit)


def _stamps(source: Source) -> dict[str, list[int]]:
    stamps = {}
    for name, path in source.files().items():
        info = path.stat()
        stamps[name] = [info.st_size, info.st_mtime_ns]
    return stamps


def _noted(run: RunFolder) -> object:
    try:
        return read_json(run.path / SOURCE)
    except (OSError, BadFile):
        return None


def _origin(source: Source, console: Console) -> Origin:
    files = source.files()
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        console.advance(done)

    console.start_phase(f"reading {source.reference}", sum(path.stat().st_size for path in files.values()))
    hashes = {name: hash_files(path.parent, [path.name], advance)[path.name] for name, path in files.items()}
    console.end_phase()
    config = read_object(source.folder / MODEL_CONFIG)
    family, arch = read_config(config, str(source.folder / MODEL_CONFIG))
    if not isinstance(arch, GPTArchitecture):
        raise InteropError(
            f"{source.reference}: a {family} can't be a parent by import yet; gpt2, llama and qwen3 can."
        )
    asks_for_code = any(
        _CODE in read_object(files[name]) for name in files if name.endswith((MODEL_CONFIG, CONFIG))
    )
    note = f"{source.reference} asks for code of its own (auto_map), which is never run: it is read as a {family}."
    return Origin(
        reference=source.reference,
        family=family,
        revision=source.revision,
        adapter_of=source.base,
        files=hashes,
        notes=(note,) if asks_for_code else (),
    )


def _read(source: Source, origin: Origin) -> tuple[ImportedModel, TextTokenizer]:
    """Weights and tokenizer. Raises InteropError where they don't fit each other."""
    model = from_hugging_face(source.folder, adapter=source.adapter, dtype=None)
    # An adapter's folder may hold a tokenizer of its own, with more tokens or another template.
    folders = [folder for folder in (source.adapter, source.folder) if folder and (folder / FILE).is_file()]
    if not folders:
        raise InteropError(
            f"{source.folder}: has no {FILE}. Write it with transformers: AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER)."
        )
    folder, config = folders[0], read_object(source.folder / MODEL_CONFIG)
    TextTokenizer.read(folder / FILE)  # its size, before all of it is read
    try:
        tokenizer = TextTokenizer(
            (folder / FILE).read_bytes(), end_of_text(folder, config), begin_of_text(folder, config)
        )
    except ValueError as error:
        raise DataError(folder / FILE, str(error)) from error
    tokenizer.chat_template = chat_template(folder)
    if tokenizer.vocab_size > model.architecture.vocab_size:
        raise InteropError(
            f"{folder / FILE}: has {tokenizer.vocab_size:,} tokens, and {origin.reference} has vectors for "
            f"{model.architecture.vocab_size:,}."
        )
    return model, tokenizer


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


def _write(lease: Lease, origin: Origin, model: ImportedModel, tokenizer: TextTokenizer) -> None:
    run = lease.run
    append_event(run, "created", origin=origin.model_dump(mode="json"))
    append_event(run, "started", attempt=1, versions=versions())
    write_status(run, Status(state="preparing"))
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state.values())
    plan = imported_plan(run.name, run.stage, origin, model.architecture, size)
    frozen = plan.model_dump_json(indent=1).encode()

    def write(folder: Path) -> None:
        save_file(model.state, folder / f"{WEIGHTS}{SUFFIX}")
        files = {**tokenizer.files, PLAN: frozen, STATE: State().model_dump_json(indent=1).encode()}
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


def _differs(run: RunFolder, known: Origin, found: Origin) -> str:
    names = sorted({*known.files, *found.files})
    changed = [name for name in names if known.files.get(name) != found.files.get(name)]
    return (
        f"{run} was imported from {known.reference}, and {found.reference} holds something else now: "
        f"{', '.join(changed[:5])}.\n"
        "Two ways on:\n"
        f'  tk import {found.reference} --as NEW_NAME  imports it beside: write parent = "{IMPORTS}/NEW_NAME"\n'
        f"  tk import {found.reference} --replace      sets the old import aside"
    )
