"""GPT-2."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.interop.families.family import Beside, Config, Family, Head, Refusals, State
from toolkit.spec.model import PRESETS, GPTArchitecture

if TYPE_CHECKING:
    from torch import Tensor

_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


def _write(arch: GPTArchitecture) -> Config:
    return {
        "vocab_size": arch.vocab_size,
        "tie_word_embeddings": arch.tie_embeddings,
        "n_positions": arch.max_sequence_length,
        "n_embd": arch.d_model,
        "n_layer": arch.n_layers,
        "n_head": arch.n_heads,
        "n_inner": arch.d_ff,
        "activation_function": "gelu_new" if arch.activation == "gelu" else "relu2",
        "layer_norm_epsilon": arch.norm_eps,
        "resid_pdrop": arch.dropout,
        "embd_pdrop": arch.dropout,
        "attn_pdrop": arch.dropout,
    }


def _read(config: Mapping[str, Any], beside: Beside) -> tuple[GPTArchitecture, Refusals]:
    activation = config.get("activation_function", "gelu_new")
    d_model, n_heads = config["n_embd"], config["n_head"]
    arch = GPTArchitecture.model_validate(
        {
            **PRESETS["gpt2"],
            "preset": "gpt2",
            "logit_softcap": None,
            "dropout": 0.0,
            "vocab_size": config["vocab_size"],
            "max_sequence_length": config["n_positions"],
            "n_layers": config["n_layer"],
            "d_model": d_model,
            "n_heads": n_heads,
            "n_kv_heads": n_heads,
            "head_dim": d_model // n_heads,
            "d_ff": config.get("n_inner") or 4 * d_model,
            "norm_eps": config.get("layer_norm_epsilon", 1e-5),
            "rope_theta": 10_000.0,
            "activation": "relu2" if activation == "relu2" else "gelu",
            "tie_embeddings": config.get("tie_word_embeddings", True),
        }
    )
    return arch, {
        f"activation_function {activation!r}": activation not in (*_TANH_GELU, "relu2"),
        "scale_attn_by_inverse_layer_idx": config.get("scale_attn_by_inverse_layer_idx", False),
        "scale_attn_weights = false": not config.get("scale_attn_weights", True),
        "add_cross_attention": config.get("add_cross_attention", False),
    }


_NORMS = {"attention_norm": "ln_1", "feed_forward_norm": "ln_2"}
_MATRICES = {
    "attention.out": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def _to(arch: GPTArchitecture, state: State) -> "dict[str, Tensor]":
    """GPT-2 keeps its matrices transposed, and query, key and value in one. It always has biases: a model
    without them gets zeros."""

    import torch

    def bias(name: str, size: int) -> "Tensor":
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
        for mine, their in _NORMS.items():
            weights[f"{theirs}.{their}.weight"] = state[f"{ours}.{mine}.weight"]
            weights[f"{theirs}.{their}.bias"] = bias(f"{ours}.{mine}", arch.d_model)
        for mine, their in _MATRICES.items():
            matrix = state[f"{ours}.{mine}.weight"]
            weights[f"{theirs}.{their}.weight"] = matrix.T
            weights[f"{theirs}.{their}.bias"] = bias(f"{ours}.{mine}", matrix.shape[0])
        qkv = [f"{ours}.attention.{part}" for part in "qkv"]
        weights[f"{theirs}.attn.c_attn.weight"] = torch.cat([state[f"{name}.weight"] for name in qkv]).T
        weights[f"{theirs}.attn.c_attn.bias"] = torch.cat([bias(name, arch.d_model) for name in qkv])
    return weights


def _back(arch: GPTArchitecture, weights: State) -> "dict[str, Tensor]":
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
        for mine, their in _NORMS.items():
            for kind in ("weight", "bias"):
                state[f"{ours}.{mine}.{kind}"] = weights[f"{theirs}.{their}.{kind}"]
        for mine, their in _MATRICES.items():
            state[f"{ours}.{mine}.weight"] = weights[f"{theirs}.{their}.weight"].T
            state[f"{ours}.{mine}.bias"] = weights[f"{theirs}.{their}.bias"]
        matrices = weights[f"{theirs}.attn.c_attn.weight"].T.chunk(3)
        biases = weights[f"{theirs}.attn.c_attn.bias"].chunk(3)
        for part, matrix, bias in zip("qkv", matrices, biases, strict=True):
            state[f"{ours}.attention.{part}.weight"] = matrix
            state[f"{ours}.attention.{part}.bias"] = bias.clone()  # a view can't be saved beside its others
    return state


GPT2 = Family(
    ("gpt2",),
    "GPT2Model",
    "GPT2LMHeadModel",
    ("GPT2DoubleHeadsModel", "GPT2ForQuestionAnswering"),
    _write,
    _read,
    _to,
    _back,
    heads={
        "pooled": Head("GPT2ForSequenceClassification", "score", has_bias=False, pools={"last": {}}),
        "positions": Head("GPT2ForTokenClassification"),
    },
)
