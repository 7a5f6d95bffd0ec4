"""Folders that the Auto classes of `transformers` open, written and read."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from toolkit.interop.config import read_config, write_config
from toolkit.interop.errors import InteropError
from toolkit.interop.layouts import from_family, to_family
from toolkit.models.build import build_head, build_trunk
from toolkit.spec.export import export_family, export_obstacle
from toolkit.spec.model import Architecture, GPTArchitecture

END_OF_TEXT = "<|endoftext|>"
MASK = "[MASK]"


@dataclass(frozen=True)
class ImportedModel:
    """What a folder held: `state` has a task's names (`trunk.…`, `head.weight`), in float32."""

    architecture: Architecture
    state: dict[str, Tensor]
    tokenizer: bytes | None
    """`tokenizer.json`, where the folder has one."""


def to_hugging_face(
    arch: Architecture,
    state: Mapping[str, Tensor],
    tokenizer: bytes | None,
    folder: Path,
    *,
    end_of_text: str = END_OF_TEXT,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model as a new `folder`, whole or not at all.

    `state` has a task's names; `tokenizer` is a `tokenizer.json`. The written tokenizer puts `end_of_text`
    before a text, because documents are trained that way. Raises InteropError if no family can hold `arch`,
    if `state` lacks a weight or if `folder` already has something in it.
    """
    family = export_family(arch)
    if family is None:
        raise InteropError(f"this model can't be exported: {export_obstacle(arch)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InteropError(f"{folder}: exists and is not an empty folder. Name another one.")
    _check_state(arch, state, "the checkpoint")
    dtype_name = str(dtype).removeprefix("torch.")
    config = write_config(family, arch, dtype_name)
    files: dict[str, Any] = {"config.json": config}
    if isinstance(arch, GPTArchitecture):
        files["generation_config.json"] = {}
    if tokenizer is not None:
        contents = json.loads(tokenizer)
        end_id = _token_id(contents, end_of_text)
        if end_id is not None:
            ids = {"bos_token_id": end_id, "eos_token_id": end_id, "pad_token_id": end_id}
            config.update(ids)
            if isinstance(arch, GPTArchitecture):
                files["generation_config.json"] = ids
            contents = _beginning_with(contents, end_of_text, end_id)
        files["tokenizer.json"] = contents
        files["tokenizer_config.json"] = _tokenizer_config(arch, None if end_id is None else end_of_text)

    weights = to_family(family, arch, state)
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


def from_hugging_face(folder: Path) -> ImportedModel:
    """Read a model of one of the known families from `folder`.

    Raises InteropError if it is of another kind, has no safetensors, or lacks a weight.
    """
    config_file = folder / "config.json"
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InteropError(f"{folder}: has no config.json, so it isn't a Hugging Face model.") from None
    except ValueError as error:
        raise InteropError(f"{config_file}: is not JSON ({error}).") from error
    if not isinstance(config, dict):
        raise InteropError(f"{config_file}: is not a JSON object.")
    family, arch = read_config(config, str(config_file))
    try:
        state = from_family(family, arch, _read_weights(folder))
    except KeyError as missing:
        raise InteropError(f"{folder}: the weights lack {missing.args[0]}.") from missing
    _check_state(arch, state, str(folder))
    state = {name: w.float().contiguous() for name, w in state.items()}
    tokenizer = folder / "tokenizer.json"
    return ImportedModel(arch, state, tokenizer.read_bytes() if tokenizer.exists() else None)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    weights: dict[str, Tensor] = {}
    for name in sorted(names):
        file = folder / name
        if Path(name).name != name:
            raise InteropError(f"{index}: names a file outside the folder, {name!r}.")
        if not file.exists():
            pickled = " Pickled weights (.bin) are not read." if list(folder.glob("*.bin")) else ""
            raise InteropError(f"{folder}: has no {name}.{pickled}")
        try:
            weights.update(load_file(file))
        except SafetensorError as error:
            raise InteropError(f"{file}: is not a whole safetensors file ({error}).") from error
    return weights


def _check_state(arch: Architecture, state: Mapping[str, Tensor], source: str) -> None:
    """Every weight that `arch` needs is there, in the right shape."""
    with torch.device("meta"):
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
    for prefix, module in (("trunk", trunk), ("head", head)):
        for name, parameter in module.named_parameters(prefix) if module is not None else ():
            if name not in state:
                raise InteropError(f"{source}: has no {name}.")
            if state[name].shape != parameter.shape:
                found, needed = tuple(state[name].shape), tuple(parameter.shape)
                raise InteropError(f"{source}: {name} has shape {found}, the architecture needs {needed}.")


def _token_id(tokenizer: Mapping[str, Any], token: str) -> int | None:
    for added in tokenizer.get("added_tokens", []):
        if added["content"] == token:
            return int(added["id"])
    return None


def _tokenizer_config(arch: Architecture, end_of_text: str | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": arch.max_sequence_length,
        "clean_up_tokenization_spaces": False,
    }
    if end_of_text is not None:
        config |= dict.fromkeys(("bos_token", "eos_token", "pad_token"), end_of_text)
        if not isinstance(arch, GPTArchitecture):
            config |= dict.fromkeys(("cls_token", "sep_token"), end_of_text) | {"mask_token": MASK}
    return config


def _beginning_with(tokenizer: dict[str, Any], token: str, token_id: int) -> dict[str, Any]:
    """The tokenizer with `token` put before every text that is encoded with its special tokens."""
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
    }
    present = tokenizer.get("post_processor")
    if present is None or present["type"] == "ByteLevel":
        steps = [template] if present is None else [present, template]
        return {**tokenizer, "post_processor": {"type": "Sequence", "processors": steps}}
    return tokenizer
