"""The GPT trunk: token embedding, causal blocks, final norm.

Weights are float32 and uninitialised until `initialise` or a checkpoint fills them; the residual stream and
the matmuls run in `compute_dtype`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.blocks import Block
from toolkit.models.cache import KVCache
from toolkit.models.norms import build_norm
from toolkit.models.positions import RotaryPositions
from toolkit.spec.model import Architecture


class Embedding(nn.Module):
    """A table of vectors, uninitialised."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(entries, size))

    def forward(self, index: Tensor) -> Tensor:
        """Integers (...) to vectors (..., size)."""
        return F.embedding(index, self.weight)


class GPTTrunk(nn.Module):
    """A decoder's body. `arch` and `d_model` tell heads and exports what they stand on."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.d_model = arch.d_model
        self.compute_dtype = torch.float32
        self.embed = Embedding(arch.vocab_size, arch.d_model)
        self.positions = (
            Embedding(arch.max_sequence_length, arch.d_model) if arch.positions == "learned" else None
        )
        self.rotary = (
            RotaryPositions(arch.head_dim, arch.max_sequence_length, arch.rope_theta)
            if arch.positions == "rope"
            else None
        )
        self.blocks = nn.ModuleList(Block(arch, layer) for layer in range(arch.n_layers))
        self.norm = build_norm(arch)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Token ids (batch, sequence) to hidden states (batch, sequence, d_model) in `compute_dtype`.

        With a cache, `tokens` continue what it holds. Raises ValueError past `arch.max_sequence_length`.
        """
        start = 0 if cache is None else cache.length
        end, limit = start + tokens.shape[1], self.arch.max_sequence_length
        if end > limit:
            raise ValueError(f"{end} tokens are more than the model takes: max_sequence_length = {limit}.")
        x: Tensor = self.embed(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[start:end]
        x = x.to(self.compute_dtype)
        if self.arch.dropout:
            x = F.dropout(x, self.arch.dropout, self.training)
        rotation = None if self.rotary is None else self.rotary(start, end - start, x.dtype)
        for block in self.blocks:
            x = block(x, rotation, cache)
        if cache is not None:
            cache.length = end
        y: Tensor = self.norm(x)
        return y
