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
    """(rows, positions, d_model) to (rows, d_model): the mean over the real positions."""
    if lengths is None:
        return hidden.mean(1)
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    weights = real.to(hidden.dtype)[..., None]
    return (hidden * weights).sum(1) / lengths[:, None].to(hidden.dtype).clamp(min=1)
