"""ModernBERT."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.interop.families.family import (
    BERT_TOKENS,
    Beside,
    Config,
    Family,
    Head,
    Refusals,
    State,
    part,
    read_encoder,
    renamed,
    turned,
    write_encoder,
)
from toolkit.spec.model import ModernBERTArchitecture

if TYPE_CHECKING:
    from torch import Tensor

_POOLINGS = {"class": "cls", "mean": "mean"}


def _write(arch: ModernBERTArchitecture) -> Config:
    kinds = ["sliding_attention" if arch.is_local(i) else "full_attention" for i in range(arch.n_layers)]
    return write_encoder(arch) | {
        "vocab_size": arch.vocab_size,
        "max_position_embeddings": arch.max_sequence_length,
        "hidden_activation": "gelu",
        "norm_eps": arch.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "classifier_pooling": _POOLINGS[arch.pooling],
        "decoder_bias": True,
        "local_attention": arch.window,
        "global_attn_every_n_layers": arch.global_every,
        "global_rope_theta": arch.global_rope_theta,
        "local_rope_theta": arch.local_rope_theta,
        "layer_types": kinds,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": arch.global_rope_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": arch.local_rope_theta},
        },
        "attention_dropout": arch.dropout,
        "mlp_dropout": arch.dropout,
        "embedding_dropout": arch.dropout,
        "tie_word_embeddings": True,
        # The class has ids of its own vocabulary where none are given.
        **dict.fromkeys(f"{role}_token_id" for role in BERT_TOKENS),
    }


def _read(config: Mapping[str, Any], beside: Beside) -> tuple[ModernBERTArchitecture, Refusals]:
    every = config.get("global_attn_every_n_layers", 3)
    kinds = config.get("layer_types")
    if kinds is not None:  # newer files list the kinds alone
        if not isinstance(kinds, list) or not kinds:
            raise ValueError(f"layer_types {kinds!r} is no list of kinds")
        every = next((i for i, kind in enumerate(kinds) if i and kind == "full_attention"), len(kinds))
    rope = config.get("rope_parameters") or {}
    globally, locally = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
    arch = ModernBERTArchitecture(
        **read_encoder(config),
        vocab_size=config["vocab_size"],
        max_sequence_length=config["max_position_embeddings"],
        norm_eps=config.get("norm_eps", 1e-5),
        activation="geglu",
        bias=False,
        pooling="mean" if config.get("classifier_pooling") == "mean" else "class",
        head="family",
        global_every=every,
        window=config.get("local_attention", 128),
        global_rope_theta=globally.get("rope_theta", config.get("global_rope_theta", 160_000.0)),
        local_rope_theta=locally.get("rope_theta", config.get("local_rope_theta") or 10_000.0),
    )
    pattern = ["sliding_attention" if arch.is_local(i) else "full_attention" for i in range(arch.n_layers)]
    activations = {config.get(f"{part}_activation", "gelu") for part in ("hidden", "classifier")}
    return arch, {
        f"activations {sorted(activations)}": activations != {"gelu"},
        "layer_types without a period": kinds not in (None, pattern),
        "a rope_type other than default": any(
            part.get("rope_type", "default") != "default" for part in (globally, locally)
        ),
        "biases": any(
            config.get(f"{part}_bias", False) for part in ("norm", "attention", "mlp", "classifier")
        ),
        "decoder_bias = false": not config.get("decoder_bias", True),
        "tie_word_embeddings = false": not config.get("tie_word_embeddings", True),
    }


def _names(arch: ModernBERTArchitecture, prefix: str) -> dict[str, str]:
    """The weights that are one tensor on both sides."""
    names = {
        "trunk.embed.weight": f"{prefix}embeddings.tok_embeddings.weight",
        "trunk.embed_norm.weight": f"{prefix}embeddings.norm.weight",
        "trunk.norm.weight": f"{prefix}final_norm.weight",
    }
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}layers.{i}"
        if i:
            names[f"{ours}.attention_norm.weight"] = f"{theirs}.attn_norm.weight"
        names[f"{ours}.attention.out.weight"] = f"{theirs}.attn.Wo.weight"
        names[f"{ours}.feed_forward_norm.weight"] = f"{theirs}.mlp_norm.weight"
        names[f"{ours}.feed_forward.down.weight"] = f"{theirs}.mlp.Wo.weight"
    return names


_JOINED = {
    "attn.Wqkv": ("attention.q", "attention.k", "attention.v"),
    "mlp.Wi": ("feed_forward.gate", "feed_forward.up"),
}
_LAYER = ("dense.weight", "norm.weight")
_WORDS = {f"head.{name}": f"head.{name}" for name in _LAYER} | {"head.bias": "decoder.bias"}
_NECK = {f"neck.{name}": f"head.{name}" for name in _LAYER}
"""The same layer under another head: a folder has one of them."""


def _to(arch: ModernBERTArchitecture, state: State) -> "dict[str, Tensor]":
    import torch

    weights = renamed(_names(arch, "model."), state)
    for i in range(arch.n_layers):
        for theirs, ours in _JOINED.items():
            parts = [state[f"trunk.blocks.{i}.{name}.weight"] for name in ours]
            weights[f"model.layers.{i}.{theirs}.weight"] = torch.cat(parts)
    return weights | (part(_WORDS, state) or part(_NECK, state))


def _back(arch: ModernBERTArchitecture, weights: State) -> "dict[str, Tensor]":
    prefix = "model." if any(name.startswith("model.") for name in weights) else ""
    state = renamed(turned(_names(arch, prefix)), weights)
    for i in range(arch.n_layers):
        for theirs, ours in _JOINED.items():
            joined = weights[f"{prefix}layers.{i}.{theirs}.weight"]
            for name, piece in zip(ours, joined.chunk(len(ours)), strict=True):
                state[f"trunk.blocks.{i}.{name}.weight"] = piece
    return state | part(turned(_WORDS if "decoder.bias" in weights else _NECK), weights)


_UNDER = {name.removesuffix(".weight"): f"head.{name.removesuffix('.weight')}" for name in _LAYER}
MODERNBERT = Family(
    ("modernbert",),
    "ModernBertModel",
    "ModernBertForMaskedLM",
    ("ModernBertForQuestionAnswering",),
    _write,
    _read,
    _to,
    _back,
    heads={
        "pooled": Head(
            "ModernBertForSequenceClassification",
            neck=_UNDER,
            pools={ours: {"classifier_pooling": theirs} for ours, theirs in _POOLINGS.items()},
        ),
        "positions": Head("ModernBertForTokenClassification", neck=_UNDER),
    },
    words_key="decoder.bias",
)
