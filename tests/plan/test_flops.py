"""Operations agree with torch's own counter, and with the count over the built modules."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from toolkit.models.build import build_head, build_trunk
from toolkit.models.cross_entropy import linear_cross_entropy
from toolkit.models.structure import structure_flops
from toolkit.plan.flops import forward_flops_per_token, training_factor

SHAPES = [
    {"preset": "gpt2", "n_layers": 3, "d_model": 128},
    {"preset": "qwen3", "n_layers": 3, "d_model": 128, "n_kv_heads": 2},
    {"preset": "llama", "n_layers": 2, "d_model": 96, "activation": "relu2", "head_dim": 48},
]


def counted_flops(arch, length, dtype):
    """Of a forward and backward pass, per token. torch counts fused CPU attention as nothing: it is off."""
    trunk = build_trunk(arch)
    trunk.compute_dtype = dtype
    head = build_head(arch, trunk)
    tokens = torch.zeros(2, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hidden = trunk(tokens)
        linear_cross_entropy(hidden.flatten(0, 1), head.weight, tokens.flatten()).backward()
    return counter.get_total_flops() / tokens.numel()


@pytest.mark.parametrize("options", SHAPES)
@pytest.mark.parametrize("length", [32, 128])
def test_all_but_the_upper_triangle_of_what_torch_counts(architecture, options, length):
    arch = architecture(vocab_size=1024, sequence_length=length, **options)
    upper = 3 * arch.n_layers * 4 * arch.n_heads * arch.head_dim * (length - (length + 1) / 2)
    planned = training_factor(None, 1) * forward_flops_per_token(arch, length)
    assert planned + upper == counted_flops(arch, length, torch.float32)


@pytest.mark.parametrize("length", [256, 512])
def test_within_ten_percent_of_what_is_computed_in_query_blocks(architecture, length):
    arch = architecture(vocab_size=1024, sequence_length=length, d_model=256)
    counted = counted_flops(arch, length, torch.bfloat16)
    assert training_factor(None, 1) * forward_flops_per_token(arch, length) == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("options", SHAPES)
def test_equal_to_the_count_over_the_modules(architecture, options):
    arch = architecture(sequence_length=512, **options)
    with torch.device("meta"):
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
    for length in (1, 100, 512):
        assert forward_flops_per_token(arch, length) == structure_flops(trunk, head, length)


def test_attention_counts_the_triangle_only(architecture):
    """Each of n tokens sees itself and those before: n (n + 1) / 2 pairs of 4 operations a dimension."""
    arch = architecture(n_layers=1)
    length = 40
    without = forward_flops_per_token(arch, 1) - 4 * 64
    attention = length * (forward_flops_per_token(arch, length) - without)
    assert attention == 4 * 64 * length * (length + 1) / 2
