"""What an encoder's positions may see: real positions only, and in local blocks near ones only."""

import torch
from torch import Tensor


def key_mask(lengths: Tensor | None, positions: int) -> Tensor | None:
    """(rows, 1, 1, positions), true at the real positions of rows padded on the right; None where all are."""
    if lengths is None:
        return None
    return (torch.arange(positions, device=lengths.device) < lengths[:, None])[:, None, None]


def local_mask(lengths: Tensor | None, positions: int, reach: int, device: torch.device) -> Tensor | None:
    """True where a real position is at most `reach` away, (rows or nothing, 1, positions, positions); None where
    that is everywhere. Padding sees itself, as a softmax over nothing is not a number."""
    place = torch.arange(positions, device=device)
    near = (place[:, None] - place).abs() <= reach if positions > reach + 1 else None
    real = key_mask(lengths, positions)
    if near is None or real is None:
        return real if near is None else near
    return (near & real) | torch.eye(positions, dtype=torch.bool, device=device)


def mean_of_real(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """(rows, positions, d_model) to (rows, d_model) in float32: the mean over the real positions.

    bfloat16 has a resolution of 1/256, in which a mean over some hundred positions no longer shows one of them.
    """
    if lengths is None:
        return hidden.mean(1, dtype=torch.float32)
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    total = (hidden * real.to(hidden.dtype)[..., None]).sum(1, dtype=torch.float32)
    return total / lengths[:, None].clamp(min=1)
