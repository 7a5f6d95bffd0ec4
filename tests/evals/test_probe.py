"""Probes on a trunk whose layers are known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from toolkit.evals.probe import fit, read_layers
from toolkit.models.trunk import GPTTrunk


class Known(nn.Module):
    """Layer 0 knows nothing; layer 1 holds the label at the last position; layer 2 at all positions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def layers(self, inputs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        assert lengths is not None
        label = inputs[:, :1].float().expand(inputs.shape).unsqueeze(2)
        last = torch.arange(inputs.shape[1]) == (lengths - 1)[:, None]
        noise = torch.randn(*inputs.shape, 3, generator=torch.Generator().manual_seed(len(inputs)))
        padding = 100 * (torch.arange(inputs.shape[1]) >= lengths[:, None]).float().unsqueeze(2)
        return [
            torch.cat([value, noise], 2) + padding for value in (0 * label, label * last.unsqueeze(2), label)
        ]

    pooled = GPTTrunk.pooled


class Rows:
    """Rows of random length, each with its label as its first token."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.n_rows = n
        self.label = rng.integers(0, 2, n)
        self.lengths = rng.integers(2, 9, n)
        self.inputs = np.repeat(self.label[:, None], 9, 1)

    def table(self, start: int, stop: int) -> dict[str, np.ndarray]:
        part = slice(start, stop)
        return {"inputs": self.inputs[part], "lengths": self.lengths[part], "label": self.label[part]}


@pytest.mark.parametrize(("pool", "knowing"), [("last", [False, True, True]), (None, [False, True, True])])
def test_the_probe_finds_the_layer_that_knows(pool: str | None, knowing: list[bool]) -> None:
    train, held_out = (
        read_layers(Known(), Rows(n, seed), "label", pool, lambda done, total: None)  # type: ignore[arg-type]
        for n, seed in ((300, 0), (200, 1))
    )
    assert [layer.shape for layer in train.vectors] == [(300, 4)] * 3
    scores = [
        fit(x, train.wanted, held_x, held_out.wanted, classes=True)
        for x, held_x in zip(train.vectors, held_out.vectors, strict=True)
    ]
    for (metric, score, baseline), knows in zip(scores, knowing, strict=True):
        assert metric == "accuracy"
        assert (score > 0.99) == knows
        assert 0.4 < baseline < 0.65


def test_a_mean_leaves_padding_out() -> None:
    rows = Rows(50, 2)
    found = read_layers(Known(), rows, "label", "mean", lambda done, total: None)  # type: ignore[arg-type]
    assert np.allclose(found.vectors[2][:, 0], rows.label)
    assert np.allclose(found.vectors[1][:, 0], rows.label / rows.lengths)


def test_numbers_are_probed_by_regression() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5))
    y = x @ np.arange(5.0)
    metric, score, baseline = fit(x[:150], y[:150], x[150:], y[150:], classes=False)
    assert metric == "r2"
    assert score > 0.999
    assert baseline < 0.1
