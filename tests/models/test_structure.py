"""FLOPs counted from modules against PyTorch's own counter and against the plan's arithmetic."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.models.conftest import VARIANTS, architecture
from toolkit.models.build import build_head, build_trunk
from toolkit.models.structure import structure_flops
from toolkit.plan.flops import forward_flops_per_token
from toolkit.plan.sizes import count_parameters


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_plan_counts_what_is_built(variant: str) -> None:
    arch = architecture(**VARIANTS[variant])
    with torch.device("meta"):
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
    counted = structure_flops(trunk, head, 24)
    assert counted == pytest.approx(forward_flops_per_token(arch, 24), rel=1e-6)
    parameters = sum(p.numel() for p in (*trunk.parameters(), *head.parameters()))
    assert parameters == count_parameters(arch).total


@pytest.mark.parametrize("variant", VARIANTS)
def test_pytorch_counts_the_same(variant: str) -> None:
    """PyTorch's counter takes the whole square of attention scores."""
    arch = architecture(**VARIANTS[variant])
    with torch.device("meta"):
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
        tokens = torch.zeros(2, 24, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            head(trunk(tokens))
    upper = arch.n_layers * 4 * arch.n_heads * arch.head_dim * (24 - 25 / 2)
    assert counter.get_total_flops() / 48 == pytest.approx(structure_flops(trunk, head, 24) + upper, rel=1e-6)
