"""Rotary positions: queries and keys are turned by an angle proportional to their place (Su 2021)."""

import torch
from torch import Tensor, nn

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, each (sequence, 1, head_dim / 2)."""


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
        self.register_buffer("cos", angles.cos().unsqueeze(1), persistent=False)
        self.register_buffer("sin", angles.sin().unsqueeze(1), persistent=False)

    def forward(self, start: int, length: int, dtype: torch.dtype) -> Rotation:
        """The rotation of positions start to start + length."""
        places = slice(start, start + length)
        return self.cos[places].to(dtype), self.sin[places].to(dtype)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair (x[i], x[i + head_dim / 2]) of `x`, (batch, sequence, heads, head_dim)."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
