"""Hand-written passes against PyTorch's own formulas."""

import pytest
import torch
import torch.nn.functional as F

from toolkit.models.activations import gelu, relu2
from toolkit.models.masks import mean_of_real
from toolkit.models.norms import LayerNorm, RMSNorm
from toolkit.models.positions import RotaryPositions, rotate


def values(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_rms_norm_is_pytorch_s() -> None:
    norm = RMSNorm(10, 1e-3).double()
    torch.nn.init.normal_(norm.weight)
    x, again = values(3, 4, 10), values(3, 4, 10)
    y, expected = norm(x), F.rms_norm(again, (10,), norm.weight, 1e-3)
    torch.testing.assert_close(y, expected)
    direction = values(3, 4, 10).detach()
    gradients = torch.autograd.grad(y, (x, norm.weight), direction)
    for ours, theirs in zip(
        gradients, torch.autograd.grad(expected, (again, norm.weight), direction), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_leaves_its_input_alone_and_rounds_once(dtype: torch.dtype) -> None:
    x = values(5, 64, dtype=dtype)
    before = x.detach().clone()
    y = RMSNorm(64, 1e-6)(x)
    y.sum().backward()
    assert torch.equal(x, before)
    assert y.dtype == x.grad.dtype == dtype if x.grad is not None else False
    exact = F.rms_norm(before.double(), (64,), eps=1e-6)
    assert (y.double() - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()


def test_layer_norm_is_pytorch_s() -> None:
    x = values(4, 10)
    norm = LayerNorm(10, 1e-5, bias=True).double()
    torch.testing.assert_close(norm(x), torch.nn.LayerNorm(10).double()(x))


def test_rotation_is_a_complex_product() -> None:
    x = values(2, 6, 3, 8)
    rotation = RotaryPositions(8, 20, 100.0)(4, 6, torch.float64)
    places = torch.arange(4, 10, dtype=torch.float64).view(6, 1, 1)
    angles = places * 100.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    product = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat((product.real, product.imag), -1)
    torch.testing.assert_close(rotate(x, rotation), expected, atol=1e-5, rtol=1e-5)


def test_rotation_keeps_lengths() -> None:
    x = values(2, 6, 3, 8)
    turned = rotate(x, RotaryPositions(8, 6, 1e4)(0, 6, torch.float64))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-6, rtol=1e-6)


def test_gradients_are_those_of_the_formula() -> None:
    rotation = RotaryPositions(4, 3, 1e4)(0, 3, torch.float64)
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotation), (values(2, 3, 2, 4),))
    assert torch.autograd.gradcheck(relu2, (values(4, 5),))
    assert torch.autograd.gradcheck(RMSNorm(5, 1e-6).double(), (values(4, 5),))


def test_activations() -> None:
    x = values(1000, dtype=torch.float32)
    assert torch.equal(relu2(x), F.relu(x) ** 2)
    assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))


def test_gelu_in_bfloat16_is_as_near_as_the_type_allows() -> None:
    x = 3 * values(100_000, dtype=torch.float32).bfloat16()
    exact = F.gelu(x.double(), approximate="tanh")
    ours = (gelu(x).double() - exact).square().mean()
    theirs = (F.gelu(x, approximate="tanh").double() - exact).square().mean()
    assert ours < 1.05 * theirs


@pytest.mark.parametrize("lengths", [None, torch.tensor([300, 290])])
def test_a_mean_of_bfloat16_positions_still_shows_one_of_them(lengths):
    hidden = torch.ones(2, 300, 4, dtype=torch.bfloat16)
    changed = hidden.clone()
    changed[:, 7] = 1.25  # moves the mean by less than the resolution of bfloat16
    difference = mean_of_real(changed, lengths) - mean_of_real(hidden, lengths)
    counts = torch.tensor([300, 300]) if lengths is None else lengths
    torch.testing.assert_close(difference, (0.25 / counts)[:, None].expand(2, 4), atol=1e-6, rtol=0)
