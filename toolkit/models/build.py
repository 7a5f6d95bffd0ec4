"""From an architecture to modules."""

from toolkit.models.head import LMHead, TiedLMHead
from toolkit.models.trunk import GPTTrunk
from toolkit.spec.model import Architecture


def build_trunk(arch: Architecture) -> GPTTrunk:
    """The trunk of `arch`, on torch's default device. Uninitialised: call `initialise` or load weights."""
    return GPTTrunk(arch)


def build_head(arch: Architecture, trunk: GPTTrunk) -> LMHead:
    """The head of `arch`, uninitialised; it is the trunk's embedding where `arch.tie_embeddings` says so."""
    return TiedLMHead(trunk) if arch.tie_embeddings else LMHead(arch)
