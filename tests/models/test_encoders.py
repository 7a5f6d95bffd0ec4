"""What the trunks of BERT, ModernBERT and ViT must do, whatever their options."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from toolkit.models.build import build_head, build_trunk
from toolkit.models.initialise import initialise
from toolkit.models.structure import image_flops, structure_flops
from toolkit.models.trunk import Trunk
from toolkit.models.vit import ViTTrunk, patchify, sincos_positions, unpatchify
from toolkit.spec.model import BERT, Architecture, ModernBERT, ViT, resolve_architecture

SIZES: dict[str, Any] = {"n_layers": 4, "d_model": 32, "n_heads": 4}
TEXT: dict[str, Any] = {
    "bert": BERT(kind="bert", **SIZES),
    "bert_class": BERT(kind="bert", pooling="class", **SIZES),
    "modernbert": ModernBERT(kind="modernbert", window=6, global_every=2, **SIZES),
}
IMAGES: dict[str, Any] = {
    "vit": ViT(kind="vit", **SIZES),
    "vit_sincos_mean": ViT(kind="vit", positions="sincos", pooling="mean", class_token=False, **SIZES),
    "vit_registers": ViT(kind="vit", n_registers=3, pooling="mean", **SIZES),
}
SHAPE = (3, 8, 12)


def architecture(model: Any) -> Architecture:
    return resolve_architecture(model, vocab_size=61, sequence_length=24, image_shape=SHAPE)


def built(model: Any) -> Trunk:
    """Every weight random and far from zero, so that no part is silent."""
    trunk = build_trunk(architecture(model))
    initialise(trunk, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return trunk


def inputs(trunk: Trunk) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    if isinstance(trunk, ViTTrunk):
        return torch.randint(256, (3, *SHAPE), dtype=torch.uint8, generator=generator)
    return torch.randint(61, (3, 24), generator=generator)


@pytest.mark.parametrize("name", [*TEXT, *IMAGES])
def test_shapes_layers_and_gradients(name: str) -> None:
    trunk = built({**TEXT, **IMAGES}[name])
    x = inputs(trunk)
    hidden, layers = trunk(x), trunk.layers(x)
    assert hidden.shape == (3, trunk.arch.max_sequence_length, 32)
    assert len(layers) == 5
    last = getattr(trunk, "norm", torch.nn.Identity())(layers[-1])
    torch.testing.assert_close(last, hidden)
    assert trunk.pooled(hidden).shape == (3, 32)
    hidden.square().sum().backward()
    silent = [n for n, p in trunk.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # Softmax doesn't see what is the same for every key.
    assert [n for n in silent if not n.endswith("attention.k.bias")] == []


@pytest.mark.parametrize("name", [*TEXT, *IMAGES])
def test_bfloat16_computes_the_same_function(name: str) -> None:
    trunk = built({**TEXT, **IMAGES}[name])
    x = inputs(trunk)
    exact = trunk(x)
    trunk.compute_dtype = torch.bfloat16
    rough = trunk(x)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).std() < 0.05 * exact.std()
    if name in TEXT:
        lengths = torch.tensor([24, 9, 1])
        assert torch.isfinite(trunk(x, lengths)).all()


@pytest.mark.parametrize("name", TEXT)
def test_padding_changes_nothing(name: str) -> None:
    trunk = built(TEXT[name])
    x = inputs(trunk)
    lengths = torch.tensor([24, 15, 7])
    hidden = trunk(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = trunk(x[row : row + 1, :length])
        torch.testing.assert_close(hidden[row, :length], alone[0], atol=1e-5, rtol=1e-5)
        pooled = trunk.pooled(hidden, lengths)[row]
        torch.testing.assert_close(pooled, trunk.pooled(alone)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TEXT)
def test_positions_see_both_ways(name: str) -> None:
    trunk = built(TEXT[name])
    x = inputs(trunk)
    changed = x.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 61
    moved = (trunk(x) - trunk(changed)).abs().amax(-1)
    assert (moved > 1e-6).all()


def test_a_local_block_sees_its_window_alone() -> None:
    trunk = built(ModernBERT(kind="modernbert", window=6, global_every=9, **SIZES))
    x = inputs(trunk)
    changed = x.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 61
    before, after = trunk.layers(x), trunk.layers(changed)
    # The first block is global, so the next is judged on what it alone makes of a change.
    state = before[1].clone()
    state[:, 12] += torch.randn(32, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(24, 24, dtype=torch.bool).tril(3).triu(-3)
    rotation = trunk.local_rotary(0, 24, state.dtype)
    moved = trunk.blocks[1](state, rotation, None, mask) - trunk.blocks[1](before[1], rotation, None, mask)
    near = (torch.arange(24) - 12).abs() <= 3
    assert torch.equal(moved.abs().amax((0, 2)) > 1e-6, near)
    torch.testing.assert_close(trunk.blocks[1](before[1], rotation, None, mask), before[2])
    assert not torch.allclose(before[-1], after[-1])


def test_rows_that_are_too_long_and_images_of_another_size_are_refused() -> None:
    for name in TEXT:
        with pytest.raises(ValueError, match="25 tokens are more than the model takes"):
            built(TEXT[name])(torch.zeros(1, 25, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"images are \(3, 8, 8\), and the model takes \(3, 8, 12\)"):
        built(IMAGES["vit"])(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_segments_tell_texts_apart() -> None:
    trunk = built(TEXT["bert"])
    x = inputs(trunk)
    segments = (torch.arange(24) >= 12).long().expand(3, -1)
    assert torch.equal(trunk(x), trunk(x, None, torch.zeros_like(segments)))
    assert not torch.allclose(trunk(x), trunk(x, None, segments))


def test_some_patches_at_their_places_are_those_of_the_whole_image() -> None:
    trunk = built(IMAGES["vit_registers"])
    x = inputs(trunk)
    places = torch.tensor([[5, 0], [1, 2], [3, 4]])
    whole = trunk.patches(x)
    torch.testing.assert_close(
        trunk.patches(x, places), whole.gather(1, places[..., None].expand(-1, -1, 32))
    )
    everything = torch.arange(6).expand(3, -1)
    torch.testing.assert_close(trunk.encode(whole, everything), trunk(x))


def test_patches_come_back_as_the_image() -> None:
    x = torch.rand(2, *SHAPE)
    patches = patchify(x, 4)
    assert patches.shape == (2, 6, 48)
    assert torch.equal(patches[0, 4].view(3, 4, 4), x[0, :, 4:8, 4:8])
    assert torch.equal(unpatchify(patches, 4, SHAPE), x)


def test_fixed_positions_are_all_different_and_tell_row_from_column() -> None:
    table = sincos_positions((5, 7), 32)
    assert table.shape == (35, 32)
    assert torch.cdist(table, table).fill_diagonal_(9).min() > 0.1
    assert torch.equal(table[0, :16], table[6, :16])  # one row
    assert torch.equal(table[0, 16:], table[7, 16:])  # one column


@pytest.mark.parametrize("name", [*TEXT, *IMAGES])
def test_pytorch_counts_the_same_operations(name: str) -> None:
    """PyTorch's counter takes the whole square of attention, also where a block is local."""
    with torch.device("meta"):
        trunk = build_trunk(architecture({**TEXT, **IMAGES}[name]))
        head = build_head(trunk.arch, trunk)
        length = trunk.arch.max_sequence_length
        shape = (2, *SHAPE) if isinstance(trunk, ViTTrunk) else (2, length)
        x = torch.zeros(shape, dtype=torch.uint8 if isinstance(trunk, ViTTrunk) else torch.int64)
        with FlopCounterMode(display=False) as counter:
            hidden = trunk(x)
            if head is not None:
                head(hidden)
    if isinstance(trunk, ViTTrunk):
        counted = 2 * image_flops(trunk)
    else:
        for block in trunk.blocks:
            block.attention.reach = None
        own = 2 * (head.dense.weight.numel() + head.weight.numel())
        counted = 2 * length * (structure_flops(trunk, None, length) + own)
    assert counter.get_total_flops() == pytest.approx(counted, rel=1e-6)
