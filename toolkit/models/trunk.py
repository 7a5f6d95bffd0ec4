"""Trunks: the pretrained body on which every head stands, and the GPT's.

Weights are float32 and uninitialised until `initialise` or a checkpoint fills them; the residual stream and
the matmuls run in `compute_dtype`.
"""

from abc import ABC, abstractmethod
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.blocks import Block
from toolkit.models.cache import KVCache
from toolkit.models.norms import build_norm
from toolkit.models.positions import RotaryPositions, Rotation
from toolkit.spec.model import Architecture, GPTArchitecture


class Embedding(nn.Module):
    """A table of vectors, uninitialised."""

    def __init__(self, entries: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(entries, size))

    def forward(self, index: Tensor) -> Tensor:
        """Integers (...) to vectors (..., size)."""
        return F.embedding(index, self.weight)


class Trunk(nn.Module, ABC):
    """Embeddings, blocks, final norm. `arch` and `d_model` tell heads and exports what they stand on.

    Inputs are token ids (rows, sequence), or images (rows, channels, height, width) in uint8. `lengths`,
    (rows,), counts the real tokens of rows that are padded on the right; None where all are real.
    """

    blocks: nn.ModuleList
    causal: bool
    """Whether a position sees only what stands before it."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.d_model: int = arch.d_model
        self.compute_dtype = torch.float32

    @abstractmethod
    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Hidden states after the final norm, (rows, positions, d_model), in `compute_dtype`."""

    @abstractmethod
    def layers(self, inputs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """The residual stream before the first block and after each, (rows, positions, d_model)."""

    @abstractmethod
    def pooled(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One vector a row, (rows, d_model), from hidden states: what a supervised head stands on."""


class GPTTrunk(Trunk):
    """A decoder's body."""

    causal = True
    arch: GPTArchitecture

    def __init__(self, arch: GPTArchitecture) -> None:
        super().__init__(arch)
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

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, *, cache: KVCache | None = None
    ) -> Tensor:
        """Padding needs no mask, as it stands behind what is real. With a cache, `inputs` continue what it
        holds. Raises ValueError past `arch.max_sequence_length`.
        """
        x, rotation = self._embedded(inputs, 0 if cache is None else cache.length)
        # Blocks compiled for training would be compiled anew for every length of a cache.
        with nullcontext() if cache is None else torch.compiler.set_stance("force_eager"):
            for block in self.blocks:
                x = block(x, rotation, cache)
        if cache is not None:
            cache.length += inputs.shape[1]
        y: Tensor = self.norm(x)
        return y

    def layers(self, inputs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        x, rotation = self._embedded(inputs, 0)
        states = [x]
        for block in self.blocks:
            x = block(x, rotation)
            states.append(x)
        return states

    def pooled(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The last real position: the only one that has seen the whole row."""
        if lengths is None:
            return hidden[:, -1]
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]

    def _embedded(self, tokens: Tensor, start: int) -> tuple[Tensor, Rotation | None]:
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
        return x, rotation
