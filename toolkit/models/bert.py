"""BERT's body: token, position and segment embeddings, then blocks with the norm after each part."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.blocks import PostNormBlock
from toolkit.models.masks import key_mask, mean_of_real
from toolkit.models.norms import build_norm
from toolkit.models.trunk import Embedding, Trunk
from toolkit.spec.bert import BERTArchitecture


class BERTTrunk(Trunk):
    """An encoder of text (Devlin 2018). The last block's norm is the final one."""

    causal = False
    arch: BERTArchitecture

    def __init__(self, arch: BERTArchitecture) -> None:
        super().__init__(arch)
        self.embed = Embedding(arch.vocab_size, arch.d_model)
        self.positions = Embedding(arch.max_sequence_length, arch.d_model)
        self.segments = Embedding(arch.n_segments, arch.d_model)
        self.embed_norm = build_norm(arch)
        self.blocks = nn.ModuleList(PostNormBlock(arch, layer) for layer in range(arch.n_layers))

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """`segments`, (rows, sequence), numbers the text that a token is of; None where there is one.

        Raises ValueError past `arch.max_sequence_length`.
        """
        return self.layers(inputs, lengths, segments)[-1]

    def layers(
        self, inputs: Tensor, lengths: Tensor | None = None, segments: Tensor | None = None
    ) -> list[Tensor]:
        x, mask = self._embedded(inputs, segments), key_mask(lengths, inputs.shape[1])
        states = [x]
        for block in self.blocks:
            x = block(x, mask)
            states.append(x)
        return states

    def pooled(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        return hidden[:, 0] if self.arch.pooling == "class" else mean_of_real(hidden, lengths)

    def _embedded(self, tokens: Tensor, segments: Tensor | None) -> Tensor:
        check_length(tokens, self.arch.max_sequence_length)
        x: Tensor = self.embed(tokens) + self.positions.weight[: tokens.shape[1]]
        x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        x = self.embed_norm(x.to(self.compute_dtype))
        return F.dropout(x, self.arch.dropout, self.training) if self.arch.dropout else x


def check_length(tokens: torch.Tensor, limit: int) -> None:
    """Raises ValueError for rows (rows, sequence) that are longer than the model takes."""
    if tokens.shape[1] > limit:
        raise ValueError(
            f"{tokens.shape[1]} tokens are more than the model takes: max_sequence_length = {limit}."
        )
