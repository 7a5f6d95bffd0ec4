"""PEFT's own layout of low-rank updates, in both directions: `adapter_config.json`, `adapter_model.safetensors`.

An update of a matrix W (d_out, d_in) is scale * B A, with A (rank, d_in) and B (d_out, rank).
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from toolkit.interop.errors import InteropError
from toolkit.interop.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_object, read_tensors
from toolkit.models.lora import DOWN, UP
from toolkit.spec.export import Family
from toolkit.spec.model import Architecture
from toolkit.spec.tune import LoraTune

PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"
_PLAIN = {
    "use_dora",
    "lora_bias",
    "alora_invocation_tokens",
    "megatron_config",
    "layer_replication",
    "use_qalora",
}
"""Options of a LoRA that change what it computes, and that are not read."""
_NAMES: dict[Family, dict[str, str]] = {
    "gpt2": {
        "attention.out": "attn.c_proj",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    }
}
_LLAMA = {
    **{f"attention.{ours}": f"self_attn.{theirs}_proj" for ours, theirs in zip("qkv", "qkv", strict=True)},
    "attention.out": "self_attn.o_proj",
    **{f"feed_forward.{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}
_FUSED = "attn.c_attn"
"""GPT-2's one matrix for queries, keys and values."""


def merge_adapter(weights: Mapping[str, Tensor], family: Family, adapter: Path) -> dict[str, Tensor]:
    """The base's weights, by the family's names, with the adapter's updates added. Raises InteropError."""
    file = adapter / ADAPTER_CONFIG
    config = read_object(file)
    _refuse(config, file)
    updates = read_tensors(adapter, [ADAPTER_WEIGHTS])
    merged = dict(weights)
    known = {_without_prefix(name, adapter): tensor for name, tensor in updates.items()}
    whole = {f"{module}.weight" for module in config.get("modules_to_save") or ()}
    for name, down in known.items():
        if name in whole and name in weights and down.shape == weights[name].shape:
            merged[name] = down
            continue
        if not name.endswith(A):
            if not name.endswith(B) or name.removesuffix(B) + A not in known:
                raise InteropError(f"{adapter / ADAPTER_WEIGHTS}: {name} is not a LoRA's matrix. {_MERGE}")
            continue
        module = name.removesuffix(A)
        matrix, up = f"{module}.weight", known.get(module + B)
        # Older files of GPT-2 hold the body alone.
        matrix = matrix if matrix in merged else matrix.removeprefix("transformer.")
        if up is None or matrix not in merged:
            lacking = f"{module}{B}" if up is None else f"{matrix} of its base"
            raise InteropError(f"{adapter / ADAPTER_WEIGHTS}: there is no {lacking}.")
        try:
            update = _scale(config, module, down.shape[0], file) * (up.float() @ down.float())
            merged[matrix] = merged[matrix] + (update.T if family == "gpt2" else update)
        except RuntimeError as error:
            raise InteropError(
                f"{adapter / ADAPTER_WEIGHTS}: {module} does not fit its base: {error}."
            ) from error
    return merged


_MERGE = "Merge it with peft first: model.merge_and_unload().save_pretrained(FOLDER)."


def _refuse(config: Mapping[str, Any], file: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise InteropError(
            f"{file}: peft_type {config.get('peft_type')!r} can't be read, only LORA. {_MERGE}"
        )
    odd = sorted(option for option in _PLAIN if config.get(option))
    if config.get("bias", "none") != "none":
        odd.append("bias")
    if not isinstance(config.get("alpha_pattern") or {}, dict):
        odd.append("alpha_pattern")
    # A rank of its own is seen in the matrices. A head that moved is read where its base has one.
    if set(config.get("modules_to_save") or ()) - {"lm_head"}:
        odd.append("modules_to_save")
    if odd:
        raise InteropError(f"{file}: {', '.join(odd)} can't be read. {_MERGE}")


def _scale(config: Mapping[str, Any], module: str, rank: int, file: Path) -> float:
    alpha = config.get("lora_alpha")
    for ending, own in (config.get("alpha_pattern") or {}).items():
        # As a name's ending alone: a pattern of PEFT is any regular expression, and may take forever.
        if re.fullmatch(r"[\w.]+", ending) is None:
            raise InteropError(f"{file}: alpha_pattern {ending!r} can't be read. {_MERGE}")
        if f".{module}".endswith(f".{ending}"):
            alpha = own
            break
    if not isinstance(alpha, int | float) or not rank:
        raise InteropError(f"{file}: lora_alpha {alpha!r} is not a number.")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _without_prefix(name: str, adapter: Path) -> str:
    if not name.startswith(PREFIX):
        raise InteropError(f"{adapter / ADAPTER_WEIGHTS}: {name} does not begin with {PREFIX}")
    return name.removeprefix(PREFIX)


class Adapter(NamedTuple):
    """What `adapter_config.json` and `adapter_model.safetensors` hold."""

    config: dict[str, Any]
    weights: dict[str, Tensor]


def to_peft(
    family: Family, arch: Architecture, tune: LoraTune, own: Mapping[str, Tensor], *, base: str, task: str
) -> Adapter:
    """The updates of a run, `own` by our names, as PEFT writes them; the logits are the same.

    Queries, keys and values, which GPT-2 fuses, become one update of their ranks' sum: A is theirs stacked, and B has
    theirs on its diagonal of blocks. A head that moved is saved whole.
    """
    weights: dict[str, Tensor] = {}
    modules: set[str] = set()
    rank_pattern: dict[str, int] = {}
    body = "transformer.h" if family == "gpt2" else "model.layers"
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{body}.{i}"
        for mine, their in (_NAMES.get(family) or _LLAMA).items():
            if (up := own.get(f"{ours}.{mine}.{UP}")) is not None:
                weights[f"{PREFIX}{theirs}.{their}{A}"] = own[f"{ours}.{mine}.{DOWN}"]
                weights[f"{PREFIX}{theirs}.{their}{B}"] = up
                modules.add(their)
        if family == "gpt2":
            parts = {part: own.get(f"{ours}.attention.{part}.{UP}") for part in "qkv"}
            moved = [part for part, up in parts.items() if up is not None]
            if moved:
                down = torch.cat([own[f"{ours}.attention.{part}.{DOWN}"] for part in moved])
                weights[f"{PREFIX}{theirs}.{_FUSED}{A}"] = down
                weights[f"{PREFIX}{theirs}.{_FUSED}{B}"] = _blocks(parts, arch.d_model, tune.rank)
                modules.add(_FUSED)
                rank_pattern[_FUSED] = tune.rank * len(moved)
    saved = []
    for ours, theirs in (("head.weight", "lm_head"), ("score.weight", "score")):
        if ours in own:
            weights[f"{PREFIX}{theirs}.weight"] = own[ours]
            saved.append(theirs)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "r": tune.rank,
        "lora_alpha": tune.alpha,
        "lora_dropout": tune.dropout,
        "target_modules": sorted(modules),
        "modules_to_save": saved or None,
        "fan_in_fan_out": family == "gpt2",
        "bias": "none",
        "inference_mode": True,
        # An update of more ranks with an alpha that keeps alpha / rank.
        "rank_pattern": rank_pattern,
        "alpha_pattern": {name: tune.alpha * rank / tune.rank for name, rank in rank_pattern.items()},
    }
    return Adapter(config, {name: tensor.float().contiguous() for name, tensor in weights.items()})


def _blocks(parts: Mapping[str, Tensor | None], width: int, rank: int) -> Tensor:
    """B of queries, keys and values: each stands in the rows of its own and the columns of its own rank."""
    moved = [part for part, up in parts.items() if up is not None]
    block = torch.zeros(len(parts) * width, rank * len(moved))
    for row, (_, up) in enumerate(parts.items()):
        if up is not None:
            column = sum(parts[before] is not None for before in list(parts)[:row]) * rank
            block[row * width : (row + 1) * width, column : column + rank] = up
    return block
