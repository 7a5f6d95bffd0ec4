"""Rotary positions: queries and keys are turned by an angle proportional to their place (Su 2021)."""

from typing import Any

import torch
from torch import Tensor, nn

from toolkit.models.dispatch import pays_for_passes

Rotation = tuple[Tensor, Tensor]
"""Cosines, and sines with the first half negative; each (sequence, 1, head_dim)."""


class RotaryPositions(nn.Module):
    """Tables of the angles position * theta^(-2i / head_dim) for every position up to `length`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, length: int, theta: float) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim, got {head_dim}.")
        frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
        cos, sin = angles.cos(), angles.sin()
        self.register_buffer("cos", torch.cat((cos, cos), -1).unsqueeze(1), persistent=False)
        self.register_buffer("sin", torch.cat((-sin, sin), -1).unsqueeze(1), persistent=False)

    def forward(self, start: int, length: int, dtype: torch.dtype) -> Rotation:
        """The rotation of positions start to start + length."""
        places = slice(start, start + length)
        return self.cos[places].to(dtype), self.sin[places].to(dtype)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair (x[i], x[i + head_dim / 2]) of `x`, (batch, sequence, heads, head_dim)."""
    cos, sin = rotation
    if pays_for_passes(x):
        y: Tensor = _Rotate.apply(x, cos, sin)  # type: ignore[no-untyped-call]
        return y
    return x * cos + _swapped(x) * sin


def _swapped(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((second, first), dim=-1)


class _Rotate(torch.autograd.Function):
    """Keeps nothing but the angle: the gradient is turned back by it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return (x * cos).addcmul_(_swapped(x), sin)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return (dy * cos).addcmul_(_swapped(dy), sin, value=-1), None, None
