"""A checkpoint as a folder that other software opens, with a model card."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file

from toolkit.engine.datasets import read_tokenizer
from toolkit.engine.weights import (
    find_base,
    read_checkpoint_plan,
    read_own_weights,
    read_weights,
    runs_folder,
)
from toolkit.interop.card import Card, model_card
from toolkit.interop.errors import InteropError
from toolkit.interop.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MODEL_CONFIG, WEIGHTS, read_object
from toolkit.interop.heads import PROBLEMS, fold_bias, left_over, read_scores
from toolkit.interop.hub import is_hub_name
from toolkit.interop.hugging_face import to_hugging_face
from toolkit.interop.peft import to_peft
from toolkit.interop.tokenizer_files import tokenizer_files
from toolkit.plan.parents import HUGGING_FACE
from toolkit.plan.plan import Plan
from toolkit.spec.export import export_family, export_obstacle
from toolkit.spec.model import GPTArchitecture
from toolkit.spec.tune import LoraTune
from toolkit.store.manifest import Checkpoint, verify_files

SIGNS = ((MODEL_CONFIG, WEIGHTS), (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
"""What a folder must hold to be taken for an export, and so to be replaced."""
MARK = "tk_checkpoint"
"""In `config.json`: the checkpoint that it was written from."""


class Exported(NamedTuple):
    """What was written."""

    folder: Path
    base: Path | None = None
    """Folder of an adapter's base, where that was written too."""
    notes: tuple[str, ...] = ()
    """What the user must know to use it."""


def export_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    replace: bool = False,
    adapter: bool = False,
    base: str | None = None,
) -> Exported:
    """Write the model of a checkpoint as a Hugging Face folder, whole or not at all.

    The checkpoint is verified first. Low-rank updates are merged, unless `adapter` asks for them alone, in PEFT's
    layout. `replace` puts the folder in the place of an earlier export, and of nothing else.

    Args:
        base: Of an adapter: the folder of its base, written if it isn't there, or `hf:NAME` on the hub. By default
            what the base was imported from.

    Raises InteropError for a model that no known family can hold and for a folder that is in the way,
    CorruptCheckpoint, BadFile for a plan that this version can't read, or UnknownCheckpoint for a parent that is gone.
    """
    plan = read_checkpoint_plan(checkpoint)
    run = f"{plan.name}/{plan.stage}"
    obstacle = export_obstacle(plan.architecture)
    if obstacle is not None:
        raise InteropError(f"{run} can't be exported: {obstacle}. tk itself works with it all the same.")
    _check_room(folder, replace)
    verify_files(checkpoint)
    if adapter:
        return _adapter(plan, checkpoint, folder.absolute(), base)
    if base is not None:
        raise InteropError("--base is of an adapter alone. Add --adapter, or leave it out.")
    return _whole(plan, checkpoint, folder.absolute())


def _whole(plan: Plan, checkpoint: Checkpoint, folder: Path) -> Exported:
    state, tokenizer = read_weights(checkpoint), read_tokenizer(checkpoint)
    family = export_family(plan.architecture)
    assert family is not None, "export_obstacle has seen to that"
    more: dict[str, Any] = {MARK: checkpoint.id}
    scores, note = None, ""
    if plan.task.kind in PROBLEMS:
        state, scores = fold_bias(state, read_scores(plan, family, state))
        rest, note = left_over(plan, scores)
        more |= rest
    elif "score.weight" in state:
        raise InteropError(
            f"{plan.name}/{plan.stage} can't be exported: transformers has no such head for {plan.task.kind}. "
            "`tk predict` works with it all the same."
        )
    notes = (note,) if note else ()

    def write(draft: Path) -> None:
        to_hugging_face(
            plan.architecture,
            {name: tensor for name, tensor in state.items() if name.startswith(("trunk.", "head.", "neck."))},
            tokenizer,
            draft,
            scores=scores,
            more=more,
        )
        _write_card(draft, plan, checkpoint, notes)

    _put_together(folder, write)
    return Exported(folder, notes=notes)


def _adapter(plan: Plan, checkpoint: Checkpoint, folder: Path, base: str | None) -> Exported:
    run = f"{plan.name}/{plan.stage}"
    arch, family = plan.architecture, export_family(plan.architecture)
    if not isinstance(plan.tune, LoraTune):
        kind = plan.tune.kind if plan.tune else "pretraining"
        raise InteropError(
            f"{run} has no low-rank updates: it is a {kind}. Leave out --adapter for a whole model."
        )
    if family is None or not isinstance(arch, GPTArchitecture):
        raise InteropError(f"{run}: adapters of a {arch.kind} can't be written yet. Leave out --adapter.")
    own = read_own_weights(checkpoint)
    parent = find_base(plan, runs_folder(checkpoint))
    reference, written = _base(run, parent, base)
    notes: tuple[str, ...] = ()
    if PROBLEMS.get(plan.task.kind):
        scores = read_scores(plan, family, own)
        _, note = left_over(plan, scores)
        notes = (note,) if note else ()
        own = {**own, "score.weight": scores.weight}
    elif strange := [name for name in own if not name.startswith(("trunk.", "head."))]:
        raise InteropError(f"{run} can't be exported: peft has no place for {strange[0]}.")
    task = "SEQ_CLS" if PROBLEMS.get(plan.task.kind) else "CAUSAL_LM"
    config, weights = to_peft(family, arch, plan.tune, own, base=reference, task=task)
    tokenizer = read_tokenizer(checkpoint)
    files: dict[str, Any] = {ADAPTER_CONFIG: config}
    if tokenizer is not None:
        files |= tokenizer_files(arch, tokenizer, supervised=task == "SEQ_CLS").files

    def write(draft: Path) -> None:
        draft.mkdir()
        for name, content in files.items():
            (draft / name).write_text(
                json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        save_file(weights, draft / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        _write_card(draft, plan, checkpoint, notes, adapter_of=reference)

    _put_together(folder, write)
    return Exported(folder, written, notes)


def _base(run: str, parent: Checkpoint, asked: str | None) -> tuple[str, Path | None]:
    """What an adapter calls its base, and the folder that was written for it, if one was."""
    if asked is not None and asked.startswith(HUGGING_FACE):
        name = asked.removeprefix(HUGGING_FACE)
        if not is_hub_name(name) and not Path(name).expanduser().is_dir():
            raise InteropError(f"--base {asked}: {name} is neither a folder here nor a name on the hub.")
        return name, None
    if asked is not None:
        folder = Path(asked).expanduser().absolute()
        if not folder.exists():
            return str(folder), export_checkpoint(parent, folder).folder
        found = read_object(folder / MODEL_CONFIG).get(MARK)
        if found not in (None, parent.id):
            raise InteropError(
                f"--base {asked}: was written from checkpoint {str(found)[:12]}, and {run} stands on {parent.id[:12]}. "
                "Name a new folder: the base is then written there."
            )
        return str(folder), None
    origin = read_checkpoint_plan(parent).origin
    if origin is None or origin.adapter_of is not None:
        raise InteropError(
            f"an adapter needs its base as a folder. Add --base FOLDER: the base of {run} is written there if it isn't "
            "yet. Or leave out --adapter for a whole model."
        )
    return origin.reference.removeprefix(HUGGING_FACE), None


def _write_card(
    draft: Path, plan: Plan, checkpoint: Checkpoint, notes: tuple[str, ...], *, adapter_of: str | None = None
) -> None:
    card = Card(plan, checkpoint, runs_folder(checkpoint), notes, adapter_of)
    (draft / "README.md").write_text(model_card(card), encoding="utf-8")


def _put_together(folder: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make a folder, and put it in the place of what is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.export")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        write(draft)
        _put_in_place(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _check_room(folder: Path, replace: bool) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise InteropError(f"{folder} is not a folder. Name another one.")
    if not any(folder.iterdir()):
        return
    if not replace:
        raise InteropError(f"{folder} is not empty. Name another folder, or add --replace.")
    if not any(all((folder / name).is_file() for name in signs) for signs in SIGNS):
        raise InteropError(f"{folder} is not an earlier export, so it is not replaced. Name another folder.")


def _put_in_place(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.replace(folder)
        return
    old = draft.with_suffix(".old")
    folder.rename(old)
    try:
        draft.replace(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)
