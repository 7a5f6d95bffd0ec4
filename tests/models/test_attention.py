"""Attention against the formula written out in float64."""

import pytest
import torch

from toolkit.models.attention import attend


def by_definition(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    groups = q.shape[1] // k.shape[1]
    q, k, v = q.double(), k.double().repeat_interleave(groups, 1), v.double().repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        queries, keys = scores.shape[-2:]
        place = torch.arange(keys - queries, keys).unsqueeze(1)
        scores = scores.masked_fill(torch.arange(keys) > place, float("-inf"))
    return scores.softmax(-1) @ v


def tensors(queries: int, keys: int, kv_heads: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(queries + keys)
    shapes = [(2, 4, queries, 16), (2, kv_heads, keys, 16), (2, kv_heads, keys, 16)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [(7, 7), (256, 256), (300, 300), (1, 9), (5, 9), (300, 400)])
def test_values_and_gradients(
    lengths: tuple[int, int], causal: bool, kv_heads: int, dtype: torch.dtype, tolerance: float
) -> None:
    ours = tensors(*lengths, kv_heads, dtype)
    exact = [tensor.detach().double().requires_grad_() for tensor in ours]
    y, expected = attend(*ours, causal=causal), by_definition(*exact, causal=causal)
    assert y.shape == (2, 4, lengths[0], 16)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=tolerance)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(y, ours, direction.to(dtype))
    for found, right in zip(gradients, torch.autograd.grad(expected, exact, direction.double()), strict=True):
        error = (found.double() - right).abs().max() / right.abs().max()
        assert error < tolerance


def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    q, k, v = (tensor.detach() for tensor in tensors(16, 16, 4, torch.float32))
    kept = attend(q, k, v, causal=True)
    dropped = torch.stack([attend(q, k, v, causal=True, dropout=0.3) for _ in range(400)])
    assert dropped.std(0).min() > 0
    assert (dropped.mean(0) - kept).abs().mean() < 0.05


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("way", ["causal", "masked", "open"])
def test_dropout_on_a_share_of_the_heads_is_that_of_all(way: str, kv_heads: int) -> None:
    q, k, v = (tensor.detach() for tensor in tensors(16, 16, kv_heads, torch.float32))
    mask = torch.rand(2, 1, 1, 16) < 0.7 if way == "masked" else None
    torch.manual_seed(0)
    whole, then = attend(q, k, v, causal=way == "causal", mask=mask, dropout=0.3), torch.rand(1)
    for index in (0, 1):
        torch.manual_seed(0)
        part = [tensor.chunk(2, 1)[index] for tensor in (q, k, v)]
        found = attend(*part, causal=way == "causal", mask=mask, dropout=0.3, share=(index, 2))
        torch.testing.assert_close(found, whole.chunk(2, 1)[index])
        assert torch.equal(torch.rand(1), then)
