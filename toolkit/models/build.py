"""From an architecture to modules."""

from typing import overload

from toolkit.models.bert import BERTTrunk
from toolkit.models.head import LMHead, MaskedLMHead, TiedLMHead
from toolkit.models.modernbert import ModernBERTTrunk
from toolkit.models.trunk import GPTTrunk, Trunk
from toolkit.models.vit import ViTTrunk
from toolkit.spec.model import (
    Architecture,
    BERTArchitecture,
    GPTArchitecture,
    ModernBERTArchitecture,
    ViTArchitecture,
)


def build_trunk(arch: Architecture) -> Trunk:
    """The trunk of `arch`, on torch's default device. Uninitialised: call `initialise` or load weights."""
    match arch:
        case GPTArchitecture():
            return GPTTrunk(arch)
        case BERTArchitecture():
            return BERTTrunk(arch)
        case ModernBERTArchitecture():
            return ModernBERTTrunk(arch)
        case ViTArchitecture():
            return ViTTrunk(arch)


@overload
def build_head(arch: GPTArchitecture, trunk: Trunk) -> LMHead: ...
@overload
def build_head(arch: BERTArchitecture | ModernBERTArchitecture, trunk: Trunk) -> MaskedLMHead: ...
@overload
def build_head(arch: ViTArchitecture, trunk: Trunk) -> None: ...
@overload
def build_head(arch: Architecture, trunk: Trunk) -> LMHead | MaskedLMHead | None: ...
def build_head(arch: Architecture, trunk: Trunk) -> LMHead | MaskedLMHead | None:
    """The language-model head of `arch`, uninitialised; None for a model of images.

    It holds the trunk's embedding where the family, or `arch.tie_embeddings`, says so.
    """
    match trunk:
        case GPTTrunk():
            return TiedLMHead(trunk) if trunk.arch.tie_embeddings else LMHead(trunk.arch)
        case BERTTrunk() | ModernBERTTrunk():
            return MaskedLMHead(trunk.arch, trunk.embed)
        case _:
            return None
