"""Which family of Hugging Face models can hold an architecture."""

from typing import Literal

from toolkit.spec.model import (
    Architecture,
    BERTArchitecture,
    GPTArchitecture,
    ModernBERTArchitecture,
    ViTArchitecture,
)

POOLS = {"gpt": ("last",), "bert": ("class",), "modernbert": ("class", "mean"), "vit": ("class",)}
"""Of the ways to take a row's vector, those that the classes of `transformers` have, by the kind of model."""

Family = Literal["gpt2", "llama", "qwen3", "bert", "modernbert", "vit"]


def export_family(arch: Architecture) -> Family | None:
    """The family whose weights `arch` can be written as, whatever its preset; None if there is none."""
    match arch:
        case BERTArchitecture() | ModernBERTArchitecture():
            return arch.kind
        case ViTArchitecture():
            return "vit" if not _vit_obstacles(arch) else None
    if arch.logit_softcap is not None:
        return None
    if arch.norm == "layernorm":
        return "gpt2" if not _gpt2_obstacles(arch) else None
    if _llama_obstacles(arch):
        return None
    if not arch.qk_norm:
        return "llama" if arch.d_model % arch.n_heads == 0 else None
    return "qwen3" if not arch.bias else None


def export_obstacle(arch: Architecture) -> str | None:
    """Why `arch` can't be exported, in the options of `[model]`; None if it can."""
    if export_family(arch) is not None:
        return None
    if isinstance(arch, ViTArchitecture):
        return f"vit needs {', '.join(_vit_obstacles(arch))}"
    if not isinstance(arch, GPTArchitecture):
        return None
    if arch.logit_softcap is not None:
        return f"no exportable family has logit_softcap = {arch.logit_softcap}"
    if arch.norm == "layernorm":
        return f"with layernorm only gpt2 is left, which needs {', '.join(_gpt2_obstacles(arch))}"
    if obstacles := _llama_obstacles(arch):
        return f"with rmsnorm only llama and qwen3 are left, which need {', '.join(obstacles)}"
    if arch.qk_norm:
        return "with qk_norm only qwen3 is left, which needs bias = false"
    return "llama needs d_model divisible by n_heads"


def _vit_obstacles(arch: ViTArchitecture) -> list[str]:
    needs = {"class_token = true": arch.class_token, "n_registers = 0": not arch.n_registers}
    return [need for need, met in needs.items() if not met]


def _gpt2_obstacles(arch: GPTArchitecture) -> list[str]:
    needs = {
        'positions = "learned"': arch.positions == "learned",
        'activation = "gelu" or "relu2"': arch.activation in ("gelu", "relu2"),
        "qk_norm = false": not arch.qk_norm,
        "n_kv_heads = n_heads": arch.n_kv_heads == arch.n_heads,
        "head_dim = d_model / n_heads": arch.head_dim * arch.n_heads == arch.d_model,
    }
    return [need for need, met in needs.items() if not met]


def _llama_obstacles(arch: GPTArchitecture) -> list[str]:
    needs = {
        'positions = "rope"': arch.positions == "rope",
        'activation = "swiglu"': arch.activation == "swiglu",
    }
    return [need for need, met in needs.items() if not met]
