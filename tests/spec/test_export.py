"""Which architectures other software can hold."""

from typing import Any

import pytest

from toolkit.spec.export import export_family, export_obstacle
from toolkit.spec.model import GPT, resolve_architecture


@pytest.mark.parametrize(
    ("options", "family"),
    [
        ({"preset": "gpt2"}, "gpt2"),
        ({"preset": "llama"}, "llama"),
        ({"preset": "qwen3"}, "qwen3"),
        ({"preset": "qwen3", "qk_norm": False}, "llama"),
        ({"preset": "llama", "qk_norm": True}, "qwen3"),
        ({"preset": "gpt2", "bias": False, "activation": "relu2"}, "gpt2"),
    ],
)
def test_the_options_decide_not_the_preset(options: dict[str, Any], family: str) -> None:
    arch = resolve_architecture(GPT(kind="gpt", **options), vocab_size=100, sequence_length=32)
    assert export_family(arch) == family
    assert export_obstacle(arch) is None


@pytest.mark.parametrize(
    ("options", "obstacle"),
    [
        ({"logit_softcap": 15.0}, "no exportable family has logit_softcap = 15.0"),
        (
            {"preset": "gpt2", "positions": "rope", "qk_norm": True},
            'with layernorm only gpt2 is left, which needs positions = "learned", qk_norm = false',
        ),
        (
            {"preset": "llama", "activation": "relu2"},
            'with rmsnorm only llama and qwen3 are left, which need activation = "swiglu"',
        ),
        ({"preset": "qwen3", "bias": True}, "with qk_norm only qwen3 is left, which needs bias = false"),
        (
            {"preset": "llama", "d_model": 40, "n_heads": 3, "head_dim": 16},
            "llama needs d_model divisible by n_heads",
        ),
    ],
)
def test_an_obstacle_is_told_in_the_options_of_a_spec(options: dict[str, Any], obstacle: str) -> None:
    arch = resolve_architecture(GPT(kind="gpt", **options), vocab_size=100, sequence_length=32)
    assert export_family(arch) is None
    assert export_obstacle(arch) == obstacle
