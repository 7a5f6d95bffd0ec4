"""`config.json` of a Hugging Face folder, written from an architecture and read back into one."""

from collections.abc import Mapping
from typing import Any

from toolkit.interop.encoders import ENCODERS
from toolkit.interop.errors import InteropError
from toolkit.spec.export import Family
from toolkit.spec.model import PRESETS, Architecture, GPTArchitecture

Config = dict[str, Any]
ARCHITECTURES: dict[Family, str] = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "bert": "BertForMaskedLM",
    "modernbert": "ModernBertForMaskedLM",
    "vit": "ViTModel",
}
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
_DEFAULT_HEAD_DIM_QWEN3 = 128


def write_config(family: Family, arch: Architecture, dtype: str) -> Config:
    """The family's configuration of `arch`, without token ids. `dtype` names the type of the weights."""
    config: Config = {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        # transformers 4 reads `torch_dtype`; 5 prefers `dtype` and still takes the older name.
        "dtype": dtype,
        "torch_dtype": dtype,
    }
    if not isinstance(arch, GPTArchitecture):
        return config | ENCODERS[arch.kind].write(arch)
    config |= {"vocab_size": arch.vocab_size, "tie_word_embeddings": arch.tie_embeddings}
    if family == "gpt2":
        return config | {
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
    config |= {
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
    return config | {"mlp_bias": arch.bias} if family == "llama" else config


def read_config(config: Mapping[str, Any], source: str) -> tuple[Family, Architecture]:
    """The family and architecture that `config` describes. Raises InteropError, naming `source`, if it is of
    another family or uses an option that this toolkit's models don't have."""
    family = config.get("model_type")
    if family not in tuple(ARCHITECTURES):  # the value may be of any type
        known = ", ".join(ARCHITECTURES)
        raise InteropError(f"{source}: model_type {family!r} can't be read. Known families: {known}.")
    _refuse(source, {"quantization_config": "quantization_config" in config})
    try:
        if family in ENCODERS:
            encoder, refusals = ENCODERS[family].read(config)
            _refuse(source, refusals)
            _check_sizes(encoder.model_dump(), source)
            return family, encoder
        read = _read_gpt2(config, source) if family == "gpt2" else _read_llama(family, config, source)
        _check_sizes(read, source)
        arch = GPTArchitecture.model_validate(
            {**PRESETS[family], **read, "preset": family, "logit_softcap": None, "dropout": 0.0}
        )
    except KeyError as missing:
        raise InteropError(f"{source}: {missing.args[0]} is missing.") from missing
    except (TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise InteropError(f"{source}: does not describe a model: {_first_line(error)}.") from error
    return family, arch


_LARGEST = {
    "vocab_size": 1 << 24,
    "max_sequence_length": 1 << 24,
    "n_layers": 1024,
    "d_model": 1 << 17,
    "n_heads": 1024,
    "n_kv_heads": 1024,
    "head_dim": 1 << 14,
    "d_ff": 1 << 20,
}
"""Sizes beyond which a configuration is not a model's, and building its modules would take for ever."""


def _check_sizes(read: Mapping[str, Any], source: str) -> None:
    for name, largest in _LARGEST.items():
        value = read.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= largest:
            raise InteropError(f"{source}: {name} = {value!r} is no size of a model.")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def _refuse(source: str, options: Mapping[str, bool]) -> None:
    for option, present in options.items():
        if present:
            raise InteropError(f"{source}: {option} is not something this toolkit's models can do.")


def _read_gpt2(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    activation = config.get("activation_function", "gelu_new")
    _refuse(
        source,
        {
            f"activation_function {activation!r}": activation not in (*_TANH_GELU, "relu2"),
            "scale_attn_by_inverse_layer_idx": config.get("scale_attn_by_inverse_layer_idx", False),
            "scale_attn_weights = false": not config.get("scale_attn_weights", True),
            "add_cross_attention": config.get("add_cross_attention", False),
        },
    )
    d_model, n_heads = config["n_embd"], config["n_head"]
    return {
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


def _read_llama(family: Family, config: Mapping[str, Any], source: str) -> dict[str, Any]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    attention_bias = config.get("attention_bias", False)
    mlp_bias = config.get("mlp_bias", False)
    _refuse(
        source,
        {
            f"rope_type {rope_type!r}": rope_type != "default",
            "partial_rotary_factor": rope.get("partial_rotary_factor", 1.0) != 1.0,
            f"hidden_act {config.get('hidden_act')!r}": config.get("hidden_act", "silu")
            not in ("silu", "swish"),
            "use_sliding_window": config.get("use_sliding_window", False),
            "attention_bias without mlp_bias": attention_bias != mlp_bias,
        },
    )
    d_model, n_heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = _DEFAULT_HEAD_DIM_QWEN3 if family == "qwen3" else d_model // n_heads
    return {
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
