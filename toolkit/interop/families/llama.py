"""Llama, and Qwen 3, which adds QK-norm."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from toolkit.interop.families.family import Beside, Config, Family, Head, Refusals, State, renamed, turned
from toolkit.spec.model import PRESETS, GPTArchitecture, Preset

if TYPE_CHECKING:
    from torch import Tensor

_DEFAULT_HEAD_DIM_QWEN3 = 128


def _write(arch: GPTArchitecture) -> Config:
    return {
        "vocab_size": arch.vocab_size,
        "tie_word_embeddings": arch.tie_embeddings,
        "max_position_embeddings": arch.max_sequence_length,
        "hidden_size": arch.d_model,
        "intermediate_size": arch.d_ff,
        "num_hidden_layers": arch.n_layers,
        "num_attention_heads": arch.n_heads,
        "num_key_value_heads": arch.n_kv_heads,
        "head_dim": arch.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": arch.norm_eps,
        "rope_theta": arch.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": arch.rope_theta},
        "attention_bias": arch.bias,
        "attention_dropout": arch.dropout,
    }


def _write_llama(arch: GPTArchitecture) -> Config:
    return _write(arch) | {"mlp_bias": arch.bias}


def _reader(preset: Preset) -> Callable[[Mapping[str, Any], Beside], tuple[GPTArchitecture, Refusals]]:
    def read(config: Mapping[str, Any], beside: Beside) -> tuple[GPTArchitecture, Refusals]:
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        attention_bias = config.get("attention_bias", False)
        d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
        head_dim = _DEFAULT_HEAD_DIM_QWEN3 if preset == "qwen3" else d_model // n_heads
        arch = GPTArchitecture.model_validate(
            {
                **PRESETS[preset],
                "preset": preset,
                "logit_softcap": None,
                "dropout": 0.0,
                "vocab_size": config["vocab_size"],
                "max_sequence_length": config["max_position_embeddings"],
                "n_layers": config["num_hidden_layers"],
                "d_model": d_model,
                "n_heads": n_heads,
                "n_kv_heads": config.get("num_key_value_heads") or n_heads,
                "head_dim": config.get("head_dim") or head_dim,
                "d_ff": config["intermediate_size"],
                "norm_eps": config.get("rms_norm_eps", 1e-6),
                "rope_theta": rope.get("rope_theta", config.get("rope_theta", 10_000.0)),
                "bias": attention_bias,
                "tie_embeddings": config.get("tie_word_embeddings", False),
            }
        )
        return arch, {
            f"rope_type {rope_type!r}": rope_type != "default",
            "partial_rotary_factor": rope.get("partial_rotary_factor", 1.0) != 1.0,
            f"hidden_act {config.get('hidden_act')!r}": config.get("hidden_act", "silu")
            not in ("silu", "swish"),
            "use_sliding_window": config.get("use_sliding_window", False),
            "attention_bias without mlp_bias": attention_bias != config.get("mlp_bias", False),
        }

    return read


def _names(arch: GPTArchitecture) -> dict[str, str]:
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


def _to(arch: GPTArchitecture, state: State) -> "dict[str, Tensor]":
    return renamed(_names(arch), state)


def _back(arch: GPTArchitecture, weights: State) -> "dict[str, Tensor]":
    return renamed(turned(_names(arch)), weights)


def _heads(name: str) -> dict[str, Head]:
    return {
        "pooled": Head(f"{name}ForSequenceClassification", "score", has_bias=False, pools={"last": {}}),
        "positions": Head(f"{name}ForTokenClassification", "score"),
    }


LLAMA = Family(
    ("llama",),
    "LlamaModel",
    "LlamaForCausalLM",
    ("LlamaForQuestionAnswering",),
    _write_llama,
    _reader("llama"),
    _to,
    _back,
    heads=_heads("Llama"),
)
QWEN3 = Family(
    ("qwen3",),
    "Qwen3Model",
    "Qwen3ForCausalLM",
    ("Qwen3ForQuestionAnswering",),
    _write,
    _reader("qwen3"),
    _to,
    _back,
    heads=_heads("Qwen3"),
)
