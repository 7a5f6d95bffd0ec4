"""Every initial weight, in one place.

Each parameter draws from a generator of its own, seeded from (seed, name) on the CPU: the values depend
neither on the device, nor on the order of the parameters, nor on which other parameters exist.

`gpt2` follows GPT-2 (Radford 2019): N(0, 0.02), residual projections divided by sqrt(2 n_layers). Other GPTs
follow the modded-nanogpt speed runs: embeddings N(0, 1), matrices N(0, 0.574 / sqrt(fan_in)), head zero.
`zero_init_outputs` starts the residual projections at zero, so that every block begins as the identity.
Encoders: embeddings N(0, 0.02), matrices N(0, 0.574 / sqrt(fan_in)), which is 0.02 at BERT's width of 768.
"""

import hashlib
import math

import torch
from torch import nn

from toolkit.models.trunk import Trunk
from toolkit.spec.model import Architecture, GPTArchitecture

SMALL_STD = 0.02
MATRIX_GAIN = 0.574
_EMBEDDINGS = ("embed", "positions", "segments", "class_token", "registers", "mask_token")
_OUTPUTS = ("attention.out.weight", "feed_forward.down.weight")


def initialise(trunk: Trunk, *heads: nn.Module, seed: int) -> None:
    """Fill all weights of `trunk`, and of the heads on it, as the trunk's architecture says.

    The first head's weights draw by names that begin with `head`, those of others with `head2`, …
    """
    for name, parameter in trunk.named_parameters():
        _fill(parameter, f"trunk.{name}", trunk.arch, seed)
    for number, head in enumerate(heads, start=1):
        prefix = "head" if number == 1 else f"head{number}"
        for name, parameter in head.named_parameters():
            _fill(parameter, f"{prefix}.{name}", trunk.arch, seed)


def initial_std(name: str, shape: torch.Size, arch: Architecture) -> float:
    """Standard deviation of the initial value of the matrix `name`, by its state-dict name in a task."""
    if not isinstance(arch, GPTArchitecture):
        if name.split(".")[-2] in _EMBEDDINGS:
            return SMALL_STD
        std = MATRIX_GAIN / math.sqrt(shape[1])
        return std / math.sqrt(2 * arch.n_layers) if name.endswith(_OUTPUTS) else std
    classic = arch.preset == "gpt2"
    if name == "head.weight":
        return SMALL_STD if classic else 0.0
    if name == "trunk.embed.weight":
        return SMALL_STD if classic or arch.tie_embeddings else 1.0
    if name == "trunk.positions.weight":
        return SMALL_STD
    std = SMALL_STD if classic else MATRIX_GAIN / math.sqrt(shape[1])
    if name.endswith(_OUTPUTS):
        return 0.0 if arch.zero_init_outputs else std / math.sqrt(2 * arch.n_layers)
    return std


@torch.no_grad()
def _fill(parameter: nn.Parameter, name: str, arch: Architecture, seed: int) -> None:
    if parameter.ndim == 1:
        parameter.fill_(0.0 if name.endswith(".bias") else 1.0)
        return
    std = initial_std(name, parameter.shape, arch)
    if std == 0.0:
        parameter.zero_()
        return
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
