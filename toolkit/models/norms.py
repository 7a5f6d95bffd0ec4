"""Normalisation layers: float32 gains, statistics in float32, output in the type of the input."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.dispatch import pays_for_passes
from toolkit.spec.architecture import BlockArchitecture


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) times `weight`, (size,); (..., size) to the same shape."""
    if pays_for_passes(x):
        y: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
        return y
    return F.rms_norm(x, weight.shape, weight.to(x.dtype), eps)


class RMSNorm(nn.Module):
    """x / rms(x) times a gain (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same shape."""
        return rms_norm(x, self.weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    """In float32 throughout and in place: PyTorch's own takes three times as long on CPUs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(_wide(x), copy=True)
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return wide.mul_(scale).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        normal = x.to(_wide(x), copy=True).mul_(scale)
        dx = dy.to(normal.dtype, copy=True)
        product = dx * normal
        d_weight = product.flatten(0, -2).sum(0)
        dx.mul_(weight)
        along = torch.mul(dx, normal, out=product).mean(-1, keepdim=True)
        dx.addcmul_(normal, along, value=-1).mul_(scale)
        return dx.to(dy.dtype), d_weight, None


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


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


def build_norm(arch: BlockArchitecture) -> RMSNorm | LayerNorm:
    """The norm of the residual stream that `arch` asks for."""
    if arch.norm == "rmsnorm":
        return RMSNorm(arch.d_model, arch.norm_eps)
    return LayerNorm(arch.d_model, arch.norm_eps, bias=arch.bias)
