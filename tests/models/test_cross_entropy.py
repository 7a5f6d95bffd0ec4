"""The loss of a linear head against PyTorch's, which holds all logits."""

import pytest
import torch
import torch.nn.functional as F

from toolkit.models import cross_entropy
from toolkit.models.cross_entropy import IGNORED, linear_cross_entropy, token_losses


def by_definition(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    logits = F.linear(hidden, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED)


def tensors(dtype: torch.dtype, n: int = 200, vocab: int = 50) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    hidden = 2 * torch.randn(n, 16, generator=generator)
    weight = torch.randn(vocab, 16, generator=generator)
    bias = torch.randn(vocab, generator=generator)
    targets = torch.randint(vocab, (n,), generator=generator)
    targets[::7] = IGNORED
    return hidden.to(dtype).requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("chunk", [None, 1700])
@pytest.mark.parametrize("step", [1, 64])
def test_loss_and_gradients(
    dtype: torch.dtype,
    tolerance: float,
    softcap: float | None,
    with_bias: bool,
    chunk: int | None,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if chunk is not None:
        monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(cross_entropy, "_step", lambda weight: step)  # 64 is that of GPUs
    hidden, weight, bias, targets = tensors(dtype)
    leaves = [hidden, weight, bias] if with_bias else [hidden, weight]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    loss = linear_cross_entropy(hidden, weight, targets, softcap, bias if with_bias else None)
    expected = by_definition(exact[0], exact[1], targets, softcap, exact[2] if with_bias else None)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance)
    found = torch.autograd.grad(loss / 3, leaves)
    for ours, right in zip(found, torch.autograd.grad(expected / 3, exact), strict=True):
        assert (ours.double() - right).abs().max() < tolerance * right.abs().max()
    assert found[1].dtype == torch.float32
    assert [gradient.shape for gradient in found] == [leaf.shape for leaf in leaves]
    alone = token_losses(hidden, weight, targets, softcap, bias if with_bias else None)
    assert alone.sum().item() == pytest.approx(loss.item(), rel=1e-4)


def test_without_gradients_the_loss_is_the_same() -> None:
    hidden, weight, _, targets = tensors(torch.float32)
    with torch.no_grad():
        alone = linear_cross_entropy(hidden, weight, targets)
    assert not alone.requires_grad
    assert alone.item() == pytest.approx(linear_cross_entropy(hidden, weight, targets).item(), rel=1e-6)


def test_nothing_to_predict_is_no_loss() -> None:
    hidden, weight, _, targets = tensors(torch.float32)
    loss = linear_cross_entropy(hidden, weight, torch.full_like(targets, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()
