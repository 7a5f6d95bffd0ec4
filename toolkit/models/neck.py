"""What stands between a trunk and a supervised output where the family's own classifiers have something there."""

import torch
from torch import Tensor, nn

from toolkit.models.activations import gelu_erf
from toolkit.models.linear import Linear
from toolkit.models.norms import build_norm
from toolkit.spec.model import Architecture, BERTArchitecture, EncoderArchitecture, ModernBERTArchitecture


class Neck(nn.Module):
    """A layer from vectors (..., d_model) to the same shape, uninitialised.

    `starts_from` names the parts of a parent that it may begin with, the best first.
    """

    starts_from: tuple[str, ...]


class BERTPooler(Neck):
    """tanh of a layer: what BERT puts on the first position (Devlin 2018)."""

    starts_from = ("neck.",)

    def __init__(self, arch: BERTArchitecture) -> None:
        super().__init__()
        self.dense = Linear(arch.d_model, arch.d_model, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x))


class ModernBERTNeck(Neck):
    """A layer, GELU and a norm, of the shape of the masked language model's own, with which it begins."""

    starts_from = ("neck.", "head.")

    def __init__(self, arch: ModernBERTArchitecture) -> None:
        super().__init__()
        self.dense = Linear(arch.d_model, arch.d_model, bias=arch.bias)
        self.norm = build_norm(arch)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(gelu_erf(self.dense(x)))
        return y


def build_neck(arch: Architecture) -> Neck | None:
    """What `arch.head` asks for; None for nothing."""
    if not isinstance(arch, EncoderArchitecture) or arch.head == "linear":
        return None
    match arch:
        case BERTArchitecture():
            return BERTPooler(arch)
        case ModernBERTArchitecture():
            return ModernBERTNeck(arch)
        case _:
            return None
