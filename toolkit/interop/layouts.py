"""How each Hugging Face family names and lays out the weights of a GPT, in both directions.

On our side a state dict has a task's names: `trunk.blocks.0.attention.q.weight`, `head.weight`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from toolkit.interop.encoders import ENCODERS
from toolkit.spec.export import Family
from toolkit.spec.model import Architecture, GPTArchitecture

State = Mapping[str, Tensor]


def to_family(family: Family, arch: Architecture, state: State) -> dict[str, Tensor]:
    """Weights by the family's names. Raises KeyError if `state` lacks one."""
    if not isinstance(arch, GPTArchitecture):
        return ENCODERS[arch.kind].to(arch, state)
    return _to_gpt2(arch, state) if family == "gpt2" else _renamed(_llama_names(arch), state)


def from_family(family: Family, arch: Architecture, weights: State) -> dict[str, Tensor]:
    """Weights by a task's names. Raises KeyError if `weights` lacks one."""
    if not isinstance(arch, GPTArchitecture):
        return ENCODERS[arch.kind].back(arch, weights)
    if family == "gpt2":
        return _from_gpt2(arch, weights)
    return _renamed({theirs: ours for ours, theirs in _llama_names(arch).items()}, weights)


def _renamed(names: Mapping[str, str], state: State) -> dict[str, Tensor]:
    return {new: state[old] for old, new in names.items()}


def _llama_names(arch: GPTArchitecture) -> dict[str, str]:
    """Ours to theirs, for Llama and for Qwen 3, which adds QK-norm."""
    names = {"trunk.embed.weight": "model.embed_tokens.weight", "trunk.norm.weight": "model.norm.weight"}
    if not arch.tie_embeddings:
        names["head.weight"] = "lm_head.weight"
    kinds = ("weight", "bias") if arch.bias else ("weight",)
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"model.layers.{i}"
        names[f"{ours}.attention_norm.weight"] = f"{theirs}.input_layernorm.weight"
        names[f"{ours}.feed_forward_norm.weight"] = f"{theirs}.post_attention_layernorm.weight"
        if arch.qk_norm:
            names[f"{ours}.attention.q_norm.weight"] = f"{theirs}.self_attn.q_norm.weight"
            names[f"{ours}.attention.k_norm.weight"] = f"{theirs}.self_attn.k_norm.weight"
        for kind in kinds:
            for mine, their in (("q", "q"), ("k", "k"), ("v", "v"), ("out", "o")):
                names[f"{ours}.attention.{mine}.{kind}"] = f"{theirs}.self_attn.{their}_proj.{kind}"
            for part in ("gate", "up", "down"):
                names[f"{ours}.feed_forward.{part}.{kind}"] = f"{theirs}.mlp.{part}_proj.{kind}"
    return names


_GPT2_NORMS = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2"}
_GPT2_MATRICES = {
    "attention.out": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def _to_gpt2(arch: GPTArchitecture, state: State) -> dict[str, Tensor]:
    """GPT-2 keeps its matrices transposed, and query, key and value in one. It always has biases: a model
    without them gets zeros."""

    def bias(name: str, size: int) -> Tensor:
        return state[f"{name}.bias"] if arch.bias else torch.zeros(size)

    weights = {
        "transformer.wte.weight": state["trunk.embed.weight"],
        "transformer.wpe.weight": state["trunk.positions.weight"],
        "transformer.ln_f.weight": state["trunk.norm.weight"],
        "transformer.ln_f.bias": bias("trunk.norm", arch.d_model),
    }
    if not arch.tie_embeddings:
        weights["lm_head.weight"] = state["head.weight"]
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"transformer.h.{i}"
        for mine, their in _GPT2_NORMS.items():
            weights[f"{theirs}.{their}.weight"] = state[f"{ours}.{mine}.weight"]
            weights[f"{theirs}.{their}.bias"] = bias(f"{ours}.{mine}", arch.d_model)
        for mine, their in _GPT2_MATRICES.items():
            matrix = state[f"{ours}.{mine}.weight"]
            weights[f"{theirs}.{their}.weight"] = matrix.T
            weights[f"{theirs}.{their}.bias"] = bias(f"{ours}.{mine}", matrix.shape[0])
        qkv = [f"{ours}.attention.{part}" for part in "qkv"]
        weights[f"{theirs}.attn.c_attn.weight"] = torch.cat([state[f"{name}.weight"] for name in qkv]).T
        weights[f"{theirs}.attn.c_attn.bias"] = torch.cat([bias(name, arch.d_model) for name in qkv])
    return weights


def _from_gpt2(arch: GPTArchitecture, weights: State) -> dict[str, Tensor]:
    # The first GPT-2 files were saved from the body alone, without the prefix.
    prefix = "transformer." if "transformer.wte.weight" in weights else ""
    state = {
        "trunk.embed.weight": weights[f"{prefix}wte.weight"],
        "trunk.positions.weight": weights[f"{prefix}wpe.weight"],
        "trunk.norm.weight": weights[f"{prefix}ln_f.weight"],
        "trunk.norm.bias": weights[f"{prefix}ln_f.bias"],
    }
    if not arch.tie_embeddings:
        state["head.weight"] = weights["lm_head.weight"]
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}h.{i}"
        for mine, their in _GPT2_NORMS.items():
            for kind in ("weight", "bias"):
                state[f"{ours}.{mine}.{kind}"] = weights[f"{theirs}.{their}.{kind}"]
        for mine, their in _GPT2_MATRICES.items():
            state[f"{ours}.{mine}.weight"] = weights[f"{theirs}.{their}.weight"].T
            state[f"{ours}.{mine}.bias"] = weights[f"{theirs}.{their}.bias"]
        matrices = weights[f"{theirs}.attn.c_attn.weight"].T.chunk(3)
        biases = weights[f"{theirs}.attn.c_attn.bias"].chunk(3)
        for part, matrix, bias in zip("qkv", matrices, biases, strict=True):
            state[f"{ours}.attention.{part}.weight"] = matrix
            state[f"{ours}.attention.{part}.bias"] = bias.clone()  # a view can't be saved beside its others
    return state
