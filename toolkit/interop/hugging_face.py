"""Folders that the Auto classes of `transformers` open, written and read."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from toolkit.data.tokenizer import TextTokenizer
from toolkit.interop.config import read_config, write_config
from toolkit.interop.errors import InteropError
from toolkit.interop.families import FAMILIES
from toolkit.interop.folder import MODEL_CONFIG, read_beside, read_object, read_tensors, weight_files
from toolkit.interop.heads import Scores
from toolkit.interop.peft import merge_adapter
from toolkit.interop.tokenizer_files import tokenizer_files
from toolkit.models.build import build_head, build_trunk
from toolkit.models.neck import build_neck
from toolkit.spec.export import export_family, export_obstacle
from toolkit.spec.model import Architecture, GPTArchitecture

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class ImportedModel:
    """What a folder held: `state` has a task's names (`trunk.…`, `head.weight`, `neck.…`)."""

    architecture: Architecture
    state: dict[str, Tensor]
    has_words: bool
    """Whether it has a language-model head."""


def to_hugging_face(
    arch: Architecture,
    state: Mapping[str, Tensor],
    tokenizer: TextTokenizer | None,
    folder: Path,
    *,
    scores: Scores | None = None,
    more: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model as a new `folder`, whole or not at all.

    `state` has a task's names. The written tokenizer puts around a text what the model was trained to see there. With
    `scores` it is a classifier; `more` goes into `config.json`. Raises InteropError if no family can hold `arch`, if
    `state` lacks a weight or if `folder` already has something in it.
    """
    family = export_family(arch)
    if family is None:
        raise InteropError(f"this model can't be exported: {export_obstacle(arch)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InteropError(f"{folder}: exists and is not an empty folder. Name another one.")
    known, body = FAMILIES[family], arch
    if scores is not None:  # a classifier has no language-model head to lack
        state = {name: tensor for name, tensor in state.items() if name.startswith("trunk.")}
        body = arch.model_copy(update={"tie_embeddings": True})
    _check_state(body, state, "the checkpoint")
    config = write_config(family, body, str(dtype).removeprefix("torch.")) | dict(more or {})
    if scores is not None:
        config |= scores.config
    elif not _has_words(body, state):
        config["architectures"] = [known.body]
    files: dict[str, Any] = {"config.json": config, **known.files(arch)}
    writes = isinstance(arch, GPTArchitecture) and scores is None
    if writes:
        files["generation_config.json"] = {}
    if tokenizer is not None:
        found = tokenizer_files(arch, tokenizer, supervised=scores is not None)
        files |= found.files
        config |= found.ids
        if writes:
            files["generation_config.json"] = found.ids
    weights = known.to(body, state)
    if scores is not None:
        weights |= scores.weights
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    draft.mkdir()
    try:
        for name, content in files.items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (draft / name).write_text(text, encoding="utf-8")
        tensors = {name: w.detach().to("cpu", dtype).contiguous() for name, w in weights.items()}
        save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def from_hugging_face(
    folder: Path, *, adapter: Path | None = None, dtype: torch.dtype | None = torch.float32
) -> ImportedModel:
    """Read a model of a known family from `folder`, with a PEFT adapter merged into it if one is given.

    The weights come in `dtype`; None leaves them as they are stored. Raises InteropError if the folder is of another
    kind, has no safetensors, or lacks a weight.
    """
    config_file = folder / MODEL_CONFIG
    if not config_file.is_file():
        raise InteropError(f"{folder}: has no config.json, so it isn't a Hugging Face model.")
    family, arch, _ = read_config(read_object(config_file), str(config_file), read_beside(folder))
    weights = read_tensors(folder, weight_files(folder))
    if adapter is not None:
        weights = merge_adapter(weights, family, adapter)
    try:
        state = FAMILIES[family].back(arch, weights)
    except KeyError as missing:
        raise InteropError(f"{folder}: the weights lack {missing.args[0]}.") from missing
    except (RuntimeError, IndexError, ValueError) as error:
        raise InteropError(f"{folder}: the weights do not fit config.json: {error}.") from error
    _check_state(arch, state, str(folder))
    # Parts of one tensor are copied: they can't be saved beside each other.
    state = {name: w.to(dtype or w.dtype).clone().contiguous() for name, w in state.items()}
    return ImportedModel(arch, state, _has_words(arch, state))


def _has_words(arch: Architecture, state: Mapping[str, Tensor]) -> bool:
    """Whether a language-model head is there; a GPT's is its embedding, or has to be."""
    return isinstance(arch, GPTArchitecture) or any(name.startswith("head.") for name in state)


def _check_state(arch: Architecture, state: Mapping[str, Tensor], source: str) -> None:
    """Every weight that `arch` needs, and of each part that is there, has the right shape."""
    with torch.device("meta"):
        trunk = build_trunk(arch)
        head = build_head(arch, trunk) if _has_words(arch, state) else None
        neck = build_neck(arch) if any(name.startswith("neck.") for name in state) else None
    for prefix, module in (("trunk", trunk), ("head", head), ("neck", neck)):
        for name, parameter in module.named_parameters(prefix) if module is not None else ():
            if name not in state:
                raise InteropError(f"{source}: has no {name}.")
            if state[name].shape != parameter.shape:
                found, needed = tuple(state[name].shape), tuple(parameter.shape)
                raise InteropError(f"{source}: {name} has shape {found}, the architecture needs {needed}.")
            if state[name].dtype not in _DTYPES:
                raise InteropError(
                    f"{source}: {name} is stored as {state[name].dtype}, which is no type to train in. Name the model "
                    "that was not quantised."
                )
