"""FLOPs counted from the modules that were built, independent of the plan's arithmetic."""

from torch import nn

from toolkit.models.blocks import Attention
from toolkit.models.head import LMHead
from toolkit.models.linear import Linear
from toolkit.models.vit import ViTTrunk


def structure_flops(trunk: nn.Module, head: nn.Module | None, sequence_length: int) -> float:
    """Forward FLOPs a token: two per weight of every linear layer and of the head, plus attention.

    Causal attention counts the lower triangle only, (sequence_length + 1) / 2 keys a query on average; local
    attention the window. Lookups, norms and activations are left out.
    """
    total = 0.0
    for part in (trunk, head):
        for module in part.modules() if part is not None else ():
            if isinstance(module, Linear | LMHead):
                total += 2 * module.weight.numel()
            elif isinstance(module, Attention):
                total += 4 * module.n_heads * module.head_dim * _keys(module, sequence_length)
    return total


def image_flops(trunk: ViTTrunk, patches: int | None = None) -> float:
    """Forward FLOPs of an image, of which the trunk reads so many patches; None for all."""
    count = trunk.arch.n_patches if patches is None else patches
    positions = trunk.arch.n_prefix + count
    return positions * structure_flops(trunk.blocks, None, positions) + count * 2 * trunk.patch.weight.numel()


def _keys(attention: Attention, length: int) -> float:
    """Keys that a query sees, on average."""
    if attention.causal:
        return (length + 1) / 2
    reach = max(length - 1, 0)
    if attention.reach is not None:
        reach = min(attention.reach, reach)
    return 1 + 2 * reach - reach * (reach + 1) / max(length, 1)
