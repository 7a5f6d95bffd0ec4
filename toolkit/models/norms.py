"""Normalisation layers: float32 gains, statistics in float32, output in the type of the input."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.spec.model import Architecture


class RMSNorm(nn.Module):
    """x / rms(x) times a gain (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same shape."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class LayerNorm(nn.Module):
    """(x - mean) / std times a gain, plus a bias where the model has biases (Ba 2016)."""

    def __init__(self, size: int, eps: float, *, bias: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same shape."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, self.eps)


def build_norm(arch: Architecture) -> RMSNorm | LayerNorm:
    """The norm of the residual stream that `arch` asks for."""
    if arch.norm == "rmsnorm":
        return RMSNorm(arch.d_model, arch.norm_eps)
    return LayerNorm(arch.d_model, arch.norm_eps, bias=arch.bias)
