"""Small models of every kind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from toolkit.models.build import build_head, build_trunk
from toolkit.models.head import LMHead
from toolkit.models.initialise import initialise
from toolkit.models.trunk import GPTTrunk
from toolkit.spec.model import GPT, Architecture, resolve_architecture

PRESETS = ("gpt2", "llama", "qwen3")
VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": {"preset": "gpt2"},
    "llama": {"preset": "llama"},
    "qwen3": {"preset": "qwen3"},
    "grouped": {"preset": "qwen3", "n_kv_heads": 2},
    "single_kv_tied": {"preset": "llama", "n_kv_heads": 1, "tie_embeddings": True, "bias": True},
    "wide_heads": {"preset": "qwen3", "head_dim": 24, "d_ff": 72},
    "relu2_softcap": {"preset": "qwen3", "activation": "relu2", "logit_softcap": 15.0},
    "no_positions": {"preset": "llama", "positions": "none", "norm": "layernorm"},
}

Build = Callable[..., tuple[GPTTrunk, LMHead]]


def architecture(**options: Any) -> Architecture:
    sizes = {"n_layers": 2, "d_model": 32, "n_heads": 4}
    return resolve_architecture(GPT(kind="gpt", **sizes | options), vocab_size=97, sequence_length=24)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are too small to share out: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Build:
    """A model with every weight random and far from zero, so that no part is silent."""

    def built(**options: Any) -> tuple[GPTTrunk, LMHead]:
        arch = architecture(**options)
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
        initialise(trunk, head, seed=0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in (*trunk.parameters(), *head.parameters()):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        return trunk, head

    return built


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest, build: Build) -> tuple[GPTTrunk, LMHead]:
    return build(**VARIANTS[request.param])


@pytest.fixture
def tokens() -> torch.Tensor:
    """(3, 24) token ids: as long as the models take."""
    return torch.randint(97, (3, 24), generator=torch.Generator().manual_seed(2))
