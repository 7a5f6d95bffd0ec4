"""FLOPs counted from the modules that were built, independent of the plan's arithmetic."""

from torch import nn

from toolkit.models.blocks import Attention
from toolkit.models.head import LMHead
from toolkit.models.linear import Linear


def structure_flops(trunk: nn.Module, head: nn.Module | None, sequence_length: int) -> float:
    """Forward FLOPs a token: two per weight of every linear layer and of the head, plus attention.

    Causal attention counts the lower triangle only, (sequence_length + 1) / 2 keys a query on average.
    Lookups, norms and activations are left out.
    """
    total = 0.0
    for part in (trunk, head):
        for module in part.modules() if part is not None else ():
            if isinstance(module, Linear | LMHead):
                total += 2 * module.weight.numel()
            elif isinstance(module, Attention):
                keys = (sequence_length + 1) / 2 if module.causal else sequence_length
                total += 4 * module.n_heads * module.head_dim * keys
    return total
