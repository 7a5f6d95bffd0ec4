"""Initial weights: their sizes, their independence, and what the recipe promises about the first step."""

import math

import pytest
import torch

from tests.models.conftest import PRESETS, architecture
from toolkit.models.build import build_head, build_trunk
from toolkit.models.cross_entropy import linear_cross_entropy
from toolkit.models.head import LMHead
from toolkit.models.initialise import initialise
from toolkit.models.trunk import GPTTrunk


def initialised(seed: int = 0, **options: object) -> tuple[GPTTrunk, LMHead]:
    arch = architecture(**options)
    trunk = build_trunk(arch)
    head = build_head(arch, trunk)
    with torch.no_grad():
        for parameter in (*trunk.parameters(), *head.parameters()):
            parameter.fill_(math.nan)
    initialise(trunk, head, seed=seed)
    return trunk, head


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_first_loss_is_that_of_a_guess(preset: str, tied: bool, tokens: torch.Tensor) -> None:
    trunk, head = initialised(preset=preset, tie_embeddings=tied)
    targets = (tokens.flatten() + 13) % 97
    loss = linear_cross_entropy(trunk(tokens).flatten(0, 1), head.weight, targets) / tokens.numel()
    assert loss.item() == pytest.approx(math.log(97), abs=0.1)


@pytest.mark.parametrize("preset", ["llama", "qwen3"])
def test_blocks_begin_as_the_identity(preset: str, tokens: torch.Tensor) -> None:
    trunk, _ = initialised(preset=preset)
    x = trunk.embed(tokens)
    rotation = trunk.rotary(0, 24, x.dtype) if trunk.rotary else None
    for block in trunk.blocks:
        assert torch.equal(block(x, rotation), x)


def test_gpt2_is_small_and_smaller_into_the_residual_stream() -> None:
    trunk, _ = initialised(preset="gpt2", n_layers=8, d_model=64)
    block = trunk.blocks[0]
    for matrix in (trunk.embed.weight, block.attention.q.weight, block.feed_forward.up.weight):
        assert matrix.std().item() == pytest.approx(0.02, rel=0.05)
    for matrix in (block.attention.out.weight, block.feed_forward.down.weight):
        assert matrix.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert block.attention.q.bias.abs().max() == 0
    assert (block.attention_norm.weight == 1).all()


def test_matrices_keep_the_size_of_what_they_take() -> None:
    trunk, head = initialised(preset="qwen3", d_model=128, d_ff=512, zero_init_outputs=False)
    block = trunk.blocks[0]
    assert trunk.embed.weight.std().item() == pytest.approx(1, rel=0.05)
    assert block.feed_forward.up.weight.std().item() == pytest.approx(0.574 / math.sqrt(128), rel=0.05)
    down = block.feed_forward.down.weight.std().item()
    assert down == pytest.approx(0.574 / math.sqrt(512) / math.sqrt(2 * 2), rel=0.05)
    assert head.weight.abs().max() == 0


def test_a_weight_depends_on_the_seed_and_its_name_alone() -> None:
    one, other = (initialised(n_layers=n)[0].state_dict() for n in (2, 3))
    shared = [name for name in one if name in other]
    assert len(shared) > 20
    assert all(torch.equal(one[name], other[name]) for name in shared)
    q, k = one["blocks.0.attention.q.weight"], one["blocks.0.attention.k.weight"]
    assert not torch.equal(q, k)
    assert not torch.equal(q, one["blocks.1.attention.q.weight"])
    assert not torch.equal(q, initialised(seed=1)[0].state_dict()["blocks.0.attention.q.weight"])


def test_torch_s_own_randomness_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    initialised()
    assert torch.equal(torch.get_rng_state(), state)
