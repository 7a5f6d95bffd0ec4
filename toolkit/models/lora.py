"""Low-rank updates beside frozen matrices (Hu 2021)."""

import hashlib
import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.linear import Linear
from toolkit.models.trunk import Trunk

DOWN, UP = "lora_a", "lora_b"


class LoraLinear(Linear):
    """x W^T + b + scale * dropout(x) A^T B^T, with W and b frozen. B begins at zero, so that nothing changes at
    first. A is (rank, d_in), B (d_out, rank)."""

    def __init__(self, base: Linear, *, rank: int, alpha: float, dropout: float) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = base.weight, base.bias
        self.scale = alpha / rank
        self.dropout = dropout
        d_out, d_in = base.weight.shape
        self.lora_a = nn.Parameter(torch.empty(rank, d_in))
        self.lora_b = nn.Parameter(torch.empty(d_out, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) to (..., d_out)."""
        dropped = F.dropout(x, self.dropout, self.training) if self.dropout else x
        update = F.linear(F.linear(dropped, self.lora_a.to(x.dtype)), self.lora_b.to(x.dtype))
        # In place: two more tensors of the output's size, for a moment, leave gaps in the heap that last.
        return super().forward(x).add_(update, alpha=self.scale)


def add_lora(
    trunk: Trunk, projections: Iterable[str], *, rank: int, alpha: float, dropout: float, seed: int
) -> None:
    """Put an update beside each matrix of the blocks with one of these names. Raises ValueError if there is none."""
    wanted, device = set(projections), next(trunk.parameters()).device
    places = [
        (block_name, module, name, child)
        for block_name, module in trunk.blocks.named_modules()
        for name, child in module.named_children()
        if name in wanted and isinstance(child, Linear)
    ]
    if not places:
        raise ValueError(f"the blocks have no matrix named {', '.join(sorted(wanted))}")
    for block_name, module, name, child in places:
        update = LoraLinear(child, rank=rank, alpha=alpha, dropout=dropout)
        digest = hashlib.blake2b(f"{seed}/{block_name}.{name}/lora".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        with torch.no_grad():
            # As PEFT draws it: uniform, with the spread of a linear layer's own.
            bound = 1 / math.sqrt(child.weight.shape[1])
            update.lora_a.copy_((torch.rand(update.lora_a.shape, generator=generator) * 2 - 1) * bound)
            update.lora_b.zero_()
        setattr(module, name, update.to(device))


def merge_lora(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights with every update added to its matrix and left out."""
    merged = {name: tensor for name, tensor in state.items() if not name.endswith((DOWN, UP))}
    for name, up in state.items():
        if name.endswith(f".{UP}"):
            matrix = name.removesuffix(UP) + "weight"
            down = state[name.removesuffix(UP) + DOWN]
            merged[matrix] = merged[matrix] + scale * (up.float() @ down.float())
    return merged
