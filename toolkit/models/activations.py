"""Activations of the feed-forward layer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.models.dispatch import pays_for_passes


def gelu(x: Tensor) -> Tensor:
    """GELU (Hendrycks 2016) in the tanh form that GPT-2 has."""
    if x.dtype == torch.bfloat16 and pays_for_passes(x):
        # The CPU's tanh is slow, and the two forms differ by less than bfloat16 can tell.
        return F.gelu(x)
    return F.gelu(x, approximate="tanh")


def gelu_erf(x: Tensor) -> Tensor:
    """GELU in its exact form, which BERT and ViT have."""
    return F.gelu(x)


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)² (So 2021)."""
    if pays_for_passes(x):
        y: Tensor = _ReLU2.apply(x)  # type: ignore[no-untyped-call]
        return y
    return F.relu(x).square()


class _ReLU2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rectified = F.relu(x)
        ctx.save_for_backward(rectified)
        return rectified * rectified

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        rectified: Tensor = ctx.saved_tensors[0]
        return (dy * rectified).mul_(2)
