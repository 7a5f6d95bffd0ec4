"""What a GPT must do, whatever its options."""

import math

import pytest
import torch

from tests.models.conftest import PRESETS, Build, architecture
from toolkit.models.build import build_head, build_trunk
from toolkit.models.head import LMHead
from toolkit.models.trunk import GPTTrunk

Model = tuple[GPTTrunk, LMHead]


def test_shapes_and_types(model: Model, tokens: torch.Tensor) -> None:
    trunk, head = model
    hidden = trunk(tokens)
    assert hidden.shape == (3, 24, trunk.d_model)
    assert hidden.dtype == torch.float32
    assert head(hidden).shape == (3, 24, 97)


def test_no_token_sees_the_future(model: Model, tokens: torch.Tensor) -> None:
    trunk, _ = model
    changed = tokens.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 97
    before, after = trunk(tokens), trunk(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_every_token_sees_its_past(model: Model, tokens: torch.Tensor) -> None:
    trunk, _ = model
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 97
    moved = (trunk(tokens) - trunk(changed)).abs().amax(-1)
    assert (moved > 1e-6).all()


def test_order_matters_only_with_positions(build: Build) -> None:
    """In one layer; a second one could tell order from what the causal mask hides from each token."""
    tokens = torch.tensor([[5, 6, 7, 8, 9], [8, 5, 7, 6, 9]])
    for positions in ("rope", "learned", "none"):
        one, other = build(positions=positions, n_layers=1)[0](tokens)[:, -1]
        assert torch.allclose(one, other, atol=1e-5) == (positions == "none"), positions


def test_rope_depends_on_distance_alone(build: Build) -> None:
    """A shift of all positions changes nothing."""
    trunk, _ = build(preset="llama", n_layers=1)
    rotary = trunk.rotary
    assert rotary is not None
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    attention = trunk.blocks[0].attention
    near, far = (attention(x, rotary(start, 4, torch.float32)) for start in (0, 17))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient(model: Model, tokens: torch.Tensor) -> None:
    trunk, head = model
    head(trunk(tokens)).square().sum().backward()
    named = [*trunk.named_parameters("trunk"), *head.named_parameters("head")]
    silent = [name for name, p in named if p.grad is None or not p.grad.abs().max() > 0]
    # Softmax doesn't see what is the same for every key.
    assert [name for name in silent if not name.endswith("attention.k.bias")] == []


def test_bfloat16_computes_the_same_function(model: Model, tokens: torch.Tensor) -> None:
    trunk, head = model
    exact = head(trunk(tokens))
    trunk.compute_dtype = torch.bfloat16
    hidden = trunk(tokens)
    assert hidden.dtype == torch.bfloat16
    rough = head(hidden)
    assert rough.dtype == torch.float32
    assert (rough - exact).std() < 0.03 * exact.std()
    rough.sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in trunk.parameters())


def test_a_tied_head_is_the_embedding(build: Build) -> None:
    trunk, head = build(preset="gpt2")
    assert head.weight is trunk.embed.weight
    assert list(head.parameters()) == []
    assert head.state_dict() == {}
    assert build(preset="qwen3")[1].weight is not build(preset="qwen3")[0].embed.weight


def test_soft_cap_bounds_logits(build: Build, tokens: torch.Tensor) -> None:
    trunk, head = build(logit_softcap=2.0)
    capped = head(trunk(tokens))
    head.softcap = None
    free = head(trunk(tokens))
    assert free.abs().max() > 2
    torch.testing.assert_close(capped, 2 * torch.tanh(free / 2))


def test_dropout_acts_in_training_only(build: Build, tokens: torch.Tensor) -> None:
    trunk, _ = build(preset="gpt2", dropout=0.5)
    assert not torch.allclose(trunk(tokens), trunk(tokens))
    trunk.eval()
    assert torch.equal(trunk(tokens), trunk(tokens))


def test_an_encoder_s_block_sees_both_ways(build: Build, tokens: torch.Tensor) -> None:
    trunk, _ = build()
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 97
    for block in trunk.blocks:
        block.attention.causal = False
    moved = (trunk(tokens) - trunk(changed)).abs().amax(-1)
    assert (moved > 1e-6).all()


def test_a_row_that_is_too_long_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="25 tokens are more than the model takes: max_sequence_length = 24"):
        model[0](torch.zeros(1, 25, dtype=torch.int64))


def test_rotary_positions_need_pairs() -> None:
    with pytest.raises(ValueError, match="rotary positions need an even head_dim, got 7"):
        build_trunk(architecture(head_dim=7))


@pytest.mark.parametrize("preset", PRESETS)
def test_names_of_weights_stay(preset: str) -> None:
    trunk = build_trunk(architecture(preset=preset, n_layers=1))
    block = "blocks.0."
    gpt2, qwen3 = preset == "gpt2", preset == "qwen3"
    modules = ["attention_norm", "attention.q", "attention.k", "attention.v", "attention.out"]
    modules += ["attention.q_norm", "attention.k_norm"] if qwen3 else []
    modules += ["feed_forward_norm"] + ([] if gpt2 else ["feed_forward.gate"])
    modules += ["feed_forward.up", "feed_forward.down"]
    kinds = ("weight", "bias") if gpt2 else ("weight",)
    expected = ["embed.weight"] + (["positions.weight"] if gpt2 else [])
    expected += [f"{block}{module}.{kind}" for module in modules for kind in kinds]
    expected += [f"norm.{kind}" for kind in kinds]
    assert list(trunk.state_dict()) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_a_model_fits_its_own_state(preset: str, build: Build, tokens: torch.Tensor) -> None:
    trunk, head = build(preset=preset)
    again = build_trunk(trunk.arch)
    again_head = build_head(trunk.arch, again)
    again.load_state_dict(trunk.state_dict())
    again_head.load_state_dict(head.state_dict())
    assert torch.equal(again_head(again(tokens)), head(trunk(tokens)))
    assert math.isfinite(head(trunk(tokens)).sum().item())
