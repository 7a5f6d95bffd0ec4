"""Language-model heads: hidden states to logits over the vocabulary."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.activations import gelu_erf
from toolkit.models.cross_entropy import linear_cross_entropy
from toolkit.models.linear import Linear
from toolkit.models.norms import build_norm
from toolkit.models.trunk import Embedding, GPTTrunk
from toolkit.spec.model import GPTArchitecture, TextArchitecture


class LMHead(nn.Module):
    """A matrix of its own, (vocab_size, d_model), uninitialised."""

    def __init__(self, arch: GPTArchitecture) -> None:
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


class MaskedLMHead(nn.Module):
    """A layer of its own, then the trunk's embedding with a bias for each token: the head of BERT and of
    ModernBERT, uninitialised."""

    def __init__(self, arch: TextArchitecture, embed: Embedding) -> None:
        super().__init__()
        self.dense = Linear(arch.d_model, arch.d_model, bias=arch.bias)
        self.norm = build_norm(arch)
        self.bias = nn.Parameter(torch.empty(arch.vocab_size))
        self._tied = (embed,)  # in a tuple, torch doesn't register it as a part of the head

    @property
    def weight(self) -> nn.Parameter:
        """The embedding, (vocab_size, d_model)."""
        return self._tied[0].weight

    def transform(self, hidden: Tensor) -> Tensor:
        """(..., d_model) to the same shape: what the embedding is multiplied by."""
        y: Tensor = self.norm(gelu_erf(self.dense(hidden)))
        return y

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., d_model) to float32 logits (..., vocab_size)."""
        return F.linear(self.transform(hidden), self.weight.to(hidden.dtype)).float() + self.bias

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy, a float32 scalar, of hidden states (n, d_model) and token ids (n,)."""
        return linear_cross_entropy(self.transform(hidden), self.weight, targets, bias=self.bias)
