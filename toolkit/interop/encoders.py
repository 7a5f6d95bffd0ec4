"""BERT, ModernBERT and ViT in Hugging Face's layout: configuration and weights, in both directions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from toolkit.spec.model import (
    BERTArchitecture,
    EncoderArchitecture,
    ModernBERTArchitecture,
    ViTArchitecture,
)

Config = dict[str, Any]
State = Mapping[str, Tensor]
Encoder = BERTArchitecture | ModernBERTArchitecture | ViTArchitecture
Refusals = dict[str, bool]
"""Options of a configuration that our models don't have, and whether it uses them."""


class EncoderFamily(NamedTuple):
    """One family of `transformers`, as this toolkit reads and writes it."""

    write: Callable[[Any], Config]
    read: Callable[[Mapping[str, Any]], tuple[Encoder, Refusals]]
    to: Callable[[Any, State], dict[str, Tensor]]
    back: Callable[[Any, State], dict[str, Tensor]]


def _common(arch: EncoderArchitecture) -> Config:
    return {
        "hidden_size": arch.d_model,
        "intermediate_size": arch.d_ff,
        "num_hidden_layers": arch.n_layers,
        "num_attention_heads": arch.n_heads,
    }


def _read_common(config: Mapping[str, Any]) -> Config:
    heads, width = config["num_attention_heads"], config["hidden_size"]
    return {
        "n_layers": config["num_hidden_layers"],
        "d_model": width,
        "n_heads": heads,
        "n_kv_heads": heads,
        "head_dim": width // heads,
        "d_ff": config["intermediate_size"],
        "norm": "layernorm",
        "qk_norm": False,
        "dropout": 0.0,
    }


def _write_bert(arch: BERTArchitecture) -> Config:
    return _common(arch) | {
        "vocab_size": arch.vocab_size,
        "max_position_embeddings": arch.max_sequence_length,
        "type_vocab_size": arch.n_segments,
        "hidden_act": "gelu",
        "layer_norm_eps": arch.norm_eps,
        "hidden_dropout_prob": arch.dropout,
        "attention_probs_dropout_prob": arch.dropout,
        "tie_word_embeddings": True,
    }


def _read_bert(config: Mapping[str, Any]) -> tuple[Encoder, Refusals]:
    activation = config.get("hidden_act", "gelu")
    kind = config.get("position_embedding_type", "absolute")
    arch = BERTArchitecture(
        **_read_common(config),
        vocab_size=config["vocab_size"],
        max_sequence_length=config["max_position_embeddings"],
        n_segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        activation="gelu_erf",
        bias=True,
        pooling="class",
    )
    return arch, {
        f"hidden_act {activation!r}": activation != "gelu",
        f"position_embedding_type {kind!r}": kind != "absolute",
        "is_decoder": config.get("is_decoder", False),
        "tie_word_embeddings = false": not config.get("tie_word_embeddings", True),
    }


def _bert_names(arch: BERTArchitecture, prefix: str = "bert.") -> dict[str, str]:
    names = {
        "trunk.embed.weight": f"{prefix}embeddings.word_embeddings.weight",
        "trunk.positions.weight": f"{prefix}embeddings.position_embeddings.weight",
        "trunk.segments.weight": f"{prefix}embeddings.token_type_embeddings.weight",
        "head.bias": "cls.predictions.bias",
    }
    parts = {
        "trunk.embed_norm": f"{prefix}embeddings.LayerNorm",
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
    }
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}encoder.layer.{i}"
        parts |= {
            f"{ours}.attention.q": f"{theirs}.attention.self.query",
            f"{ours}.attention.k": f"{theirs}.attention.self.key",
            f"{ours}.attention.v": f"{theirs}.attention.self.value",
            f"{ours}.attention.out": f"{theirs}.attention.output.dense",
            f"{ours}.attention_norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.feed_forward.up": f"{theirs}.intermediate.dense",
            f"{ours}.feed_forward.down": f"{theirs}.output.dense",
            f"{ours}.feed_forward_norm": f"{theirs}.output.LayerNorm",
        }
    return names | _with_kinds(parts)


def _to_bert(arch: BERTArchitecture, state: State) -> dict[str, Tensor]:
    return _renamed(_bert_names(arch), state)


def _from_bert(arch: BERTArchitecture, weights: State) -> dict[str, Tensor]:
    prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
    # The first BERT files call a norm's gain gamma and its shift beta.
    modern = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): w
        for name, w in weights.items()
    }
    return _renamed({theirs: ours for ours, theirs in _bert_names(arch, prefix).items()}, modern)


def _write_modernbert(arch: ModernBERTArchitecture) -> Config:
    kinds = ["sliding_attention" if arch.is_local(i) else "full_attention" for i in range(arch.n_layers)]
    return _common(arch) | {
        "vocab_size": arch.vocab_size,
        "max_position_embeddings": arch.max_sequence_length,
        "hidden_activation": "gelu",
        "norm_eps": arch.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "classifier_pooling": "cls" if arch.pooling == "class" else "mean",
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
        **dict.fromkeys(f"{role}_token_id" for role in ("bos", "eos", "cls", "sep", "pad")),
    }


def _read_modernbert(config: Mapping[str, Any]) -> tuple[Encoder, Refusals]:
    every = config.get("global_attn_every_n_layers", 3)
    kinds = config.get("layer_types")
    if kinds is not None:  # newer files list the kinds alone
        every = next((i for i, kind in enumerate(kinds) if i and kind == "full_attention"), len(kinds))
    rope = config.get("rope_parameters") or {}
    globally, locally = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
    arch = ModernBERTArchitecture(
        **_read_common(config),
        vocab_size=config["vocab_size"],
        max_sequence_length=config["max_position_embeddings"],
        norm_eps=config.get("norm_eps", 1e-5),
        activation="geglu",
        bias=False,
        pooling="mean" if config.get("classifier_pooling") == "mean" else "class",
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


def _modernbert_names(arch: ModernBERTArchitecture, prefix: str) -> dict[str, str]:
    """The weights that are one tensor on both sides."""
    names = {
        "trunk.embed.weight": f"{prefix}embeddings.tok_embeddings.weight",
        "trunk.embed_norm.weight": f"{prefix}embeddings.norm.weight",
        "trunk.norm.weight": f"{prefix}final_norm.weight",
        "head.dense.weight": "head.dense.weight",
        "head.norm.weight": "head.norm.weight",
        "head.bias": "decoder.bias",
    }
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}layers.{i}"
        if i:
            names[f"{ours}.attention_norm.weight"] = f"{theirs}.attn_norm.weight"
        names[f"{ours}.attention.out.weight"] = f"{theirs}.attn.Wo.weight"
        names[f"{ours}.feed_forward_norm.weight"] = f"{theirs}.mlp_norm.weight"
        names[f"{ours}.feed_forward.down.weight"] = f"{theirs}.mlp.Wo.weight"
    return names


_MODERNBERT_JOINED = {
    "attn.Wqkv": ("attention.q", "attention.k", "attention.v"),
    "mlp.Wi": ("feed_forward.gate", "feed_forward.up"),
}


def _to_modernbert(arch: ModernBERTArchitecture, state: State) -> dict[str, Tensor]:
    weights = _renamed(_modernbert_names(arch, "model."), state)
    for i in range(arch.n_layers):
        for theirs, ours in _MODERNBERT_JOINED.items():
            parts = [state[f"trunk.blocks.{i}.{name}.weight"] for name in ours]
            weights[f"model.layers.{i}.{theirs}.weight"] = torch.cat(parts)
    return weights


def _from_modernbert(arch: ModernBERTArchitecture, weights: State) -> dict[str, Tensor]:
    prefix = "model." if any(name.startswith("model.") for name in weights) else ""
    names = _modernbert_names(arch, prefix)
    state = _renamed({theirs: ours for ours, theirs in names.items()}, weights)
    for i in range(arch.n_layers):
        for theirs, ours in _MODERNBERT_JOINED.items():
            joined = weights[f"{prefix}layers.{i}.{theirs}.weight"]
            for name, part in zip(ours, joined.chunk(len(ours)), strict=True):
                state[f"trunk.blocks.{i}.{name}.weight"] = part
    return state


def _write_vit(arch: ViTArchitecture) -> Config:
    square = arch.height == arch.width
    return _common(arch) | {
        "image_size": arch.height if square else [arch.height, arch.width],
        "patch_size": arch.patch_size,
        "num_channels": arch.channels,
        "hidden_act": "gelu",
        "layer_norm_eps": arch.norm_eps,
        "hidden_dropout_prob": arch.dropout,
        "attention_probs_dropout_prob": arch.dropout,
        "qkv_bias": True,
    }


def _read_vit(config: Mapping[str, Any]) -> tuple[Encoder, Refusals]:
    size, patch = config["image_size"], config["patch_size"]
    height, width = (size, size) if isinstance(size, int) else size
    patch_height, patch_width = (patch, patch) if isinstance(patch, int) else patch
    activation = config.get("hidden_act", "gelu")
    arch = ViTArchitecture(
        **_read_common(config),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        activation="gelu_erf",
        bias=True,
        pooling="class",
        channels=config.get("num_channels", 3),
        height=height,
        width=width,
        patch_size=patch_height,
        class_token=True,
        positions="learned",
        n_registers=0,
    )
    return arch, {
        f"hidden_act {activation!r}": activation != "gelu",
        "qkv_bias = false": not config.get("qkv_bias", True),
        "a patch that is not square": patch_height != patch_width,
    }


def _vit_names(arch: ViTArchitecture, prefix: str, version: int) -> dict[str, str]:
    """Names as transformers 5 has them, or as earlier versions and the files on the hub have."""
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    block, up, down = "layers", "mlp.fc1", "mlp.fc2"
    if version == 4:
        attention = ("attention.query", "attention.key", "attention.value", "output.dense")
        block, up, down = "encoder.layer", "intermediate.dense", "output.dense"
    parts = {"trunk.norm": f"{prefix}layernorm"}
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}{block}.{i}"
        for mine, their in zip(("q", "k", "v", "out"), attention, strict=True):
            parts[f"{ours}.attention.{mine}"] = f"{theirs}.attention.{their}"
        parts |= {
            f"{ours}.attention_norm": f"{theirs}.layernorm_before",
            f"{ours}.feed_forward_norm": f"{theirs}.layernorm_after",
            f"{ours}.feed_forward.up": f"{theirs}.{up}",
            f"{ours}.feed_forward.down": f"{theirs}.{down}",
        }
    return _with_kinds(parts)


def _to_vit(arch: ViTArchitecture, state: State) -> dict[str, Tensor]:
    weights = _renamed(_vit_names(arch, "", 4), state)
    shape = (arch.d_model, arch.channels, arch.patch_size, arch.patch_size)
    positions = state.get("trunk.positions.weight")
    if positions is None:  # sines and cosines; the class token has none
        from toolkit.models.vit import sincos_positions

        table = sincos_positions(arch.grid, arch.d_model)
        positions = torch.cat((torch.zeros(1, arch.d_model), table))
    return weights | {
        "embeddings.cls_token": state["trunk.class_token.weight"][None],
        "embeddings.position_embeddings": positions[None],
        "embeddings.patch_embeddings.projection.weight": state["trunk.patch.weight"].reshape(shape),
        "embeddings.patch_embeddings.projection.bias": state["trunk.patch.bias"],
    }


def _from_vit(arch: ViTArchitecture, weights: State) -> dict[str, Tensor]:
    prefix = "vit." if any(name.startswith("vit.") for name in weights) else ""
    version = 4 if any(name.startswith(f"{prefix}encoder.layer.") for name in weights) else 5
    names = _vit_names(arch, prefix, version)
    embeddings = f"{prefix}embeddings"
    return _renamed({theirs: ours for ours, theirs in names.items()}, weights) | {
        "trunk.class_token.weight": weights[f"{embeddings}.cls_token"][0],
        "trunk.positions.weight": weights[f"{embeddings}.position_embeddings"][0],
        "trunk.patch.weight": weights[f"{embeddings}.patch_embeddings.projection.weight"].flatten(1),
        "trunk.patch.bias": weights[f"{embeddings}.patch_embeddings.projection.bias"],
    }


def _with_kinds(parts: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{mine}.{kind}": f"{their}.{kind}" for mine, their in parts.items() for kind in ("weight", "bias")
    }


def _renamed(names: Mapping[str, str], state: State) -> dict[str, Tensor]:
    return {new: state[old] for old, new in names.items()}


ENCODERS: dict[str, EncoderFamily] = {
    "bert": EncoderFamily(_write_bert, _read_bert, _to_bert, _from_bert),
    "modernbert": EncoderFamily(_write_modernbert, _read_modernbert, _to_modernbert, _from_modernbert),
    "vit": EncoderFamily(_write_vit, _read_vit, _to_vit, _from_vit),
}
