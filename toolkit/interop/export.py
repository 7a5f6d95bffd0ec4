"""A checkpoint as a folder that other software opens, with a model card."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit.engine.checkpointing import PLAN, TOKENIZER
from toolkit.engine.tensors import WEIGHTS, read_tensors
from toolkit.interop.card import model_card
from toolkit.interop.errors import InteropError
from toolkit.interop.hugging_face import END_OF_TEXT, to_hugging_face
from toolkit.plan.plan import Plan
from toolkit.spec.export import export_obstacle
from toolkit.store.errors import BadFile
from toolkit.store.manifest import Checkpoint, verify_files

SIGNS = ("config.json", "model.safetensors")
"""What a folder must hold to be taken for an export, and so to be replaced."""


def export_checkpoint(checkpoint: Checkpoint, folder: Path, *, replace: bool = False) -> Path:
    """Write the model of a checkpoint as a Hugging Face folder, whole or not at all; the folder's path.

    The checkpoint is verified first. `replace` puts the folder in the place of an earlier export, and of
    nothing else.
    Raises InteropError for a model that no known family can hold and for a folder that is in the way,
    CorruptCheckpoint, or BadFile for a plan that this version can't read.
    """
    plan = _read_plan(checkpoint)
    obstacle = export_obstacle(plan.architecture)
    if obstacle is not None:
        raise InteropError(
            f"{plan.name}/{plan.stage} can't be exported: {obstacle}. `tk sample` works with it all the same."
        )
    _check_room(folder, replace)
    verify_files(checkpoint)
    tokenizer = None
    if TOKENIZER in checkpoint.files:
        tokenizer = (checkpoint.path / TOKENIZER).read_bytes()
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.export")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        state = read_tensors(checkpoint.path, WEIGHTS)
        end = END_OF_TEXT if tokenizer is None else _end_of_text(checkpoint.path / TOKENIZER)
        to_hugging_face(plan.architecture, state, tokenizer, draft, end_of_text=end)
        (draft / "README.md").write_text(model_card(plan, checkpoint), encoding="utf-8")
        _put_in_place(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder


def _read_plan(checkpoint: Checkpoint) -> Plan:
    path = checkpoint.path / PLAN
    try:
        return Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BadFile(path, "is not a plan that this version of tk reads") from error


def _check_room(folder: Path, replace: bool) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise InteropError(f"{folder} is not a folder. Name another one.")
    if not any(folder.iterdir()):
        return
    if not replace:
        raise InteropError(f"{folder} is not empty. Name another folder, or add --replace.")
    if not all((folder / name).is_file() for name in SIGNS):
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


def _end_of_text(tokenizer: Path) -> str:
    """The token that stands around documents, as the tokenizer writes it."""
    from toolkit.data.tokenizer import TextTokenizer

    identity = TextTokenizer.read(tokenizer).end_of_text_id
    added: list[dict[str, Any]] = json.loads(tokenizer.read_bytes()).get("added_tokens", [])
    return next((str(token["content"]) for token in added if token["id"] == identity), END_OF_TEXT)
