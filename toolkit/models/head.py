"""The language-model head: hidden states to logits over the vocabulary."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.trunk import GPTTrunk
from toolkit.spec.model import Architecture


class LMHead(nn.Module):
    """A matrix of its own, (vocab_size, d_model), uninitialised."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.softcap = arch.logit_softcap
        self.weight = nn.Parameter(torch.empty(arch.vocab_size, arch.d_model))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., d_model) to float32 logits (..., vocab_size), soft-capped where the model asks.

        Training goes through `linear_cross_entropy(hidden, head.weight, targets, head.softcap)` instead.
        """
        logits = F.linear(hidden, self.weight.to(hidden.dtype)).float()
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class TiedLMHead(LMHead):
    """The trunk's embedding used as the head (Press and Wolf 2017). It has no parameter of its own, so that a
    state dict and an optimizer see the matrix once, as the embedding."""

    def __init__(self, trunk: GPTTrunk) -> None:
        nn.Module.__init__(self)
        self.softcap = trunk.arch.logit_softcap
        self._tied = (trunk.embed,)  # in a tuple, torch doesn't register it as a part of the head

    @property
    def weight(self) -> nn.Parameter:  # type: ignore[override]
        return self._tied[0].weight
