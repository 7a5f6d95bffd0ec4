"""The vector that stands for a row."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toolkit.models.build import build_head, build_trunk
from toolkit.models.head import MaskedLMHead
from toolkit.models.initialise import initialise
from toolkit.models.pooling import pooled_by_surprisal
from toolkit.spec.model import ModernBERT, resolve_architecture

VOCABULARY, WIDTH = 12, 32
SPECIAL = torch.tensor([0, 3])


def head_of(seed: int = 0) -> MaskedLMHead:
    spec = ModernBERT(kind="modernbert", n_layers=1, d_model=WIDTH, n_heads=2)
    arch = resolve_architecture(spec, vocab_size=VOCABULARY, sequence_length=16)
    trunk = build_trunk(arch)
    head = build_head(arch, trunk)
    initialise(trunk, head, seed=seed)
    nn.init.normal_(trunk.embed.weight, generator=torch.Generator().manual_seed(seed))
    nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(seed + 1))
    return head


def row_of(ids: list[int], seed: int) -> tuple[Tensor, Tensor]:
    hidden = torch.randn(1, len(ids), WIDTH, generator=torch.Generator().manual_seed(seed))
    return hidden, torch.tensor([ids])


@settings(deadline=None)
@given(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=10), st.integers(0, 5), st.integers(0, 99)
)
def test_a_position_weighs_one_over_the_probability_of_its_token(
    ids: list[int], padding: int, seed: int
) -> None:
    head = head_of().requires_grad_(False)
    hidden, inputs = row_of(ids + [7] * padding, seed)
    found = pooled_by_surprisal(head, hidden, inputs, torch.tensor([len(ids)]), SPECIAL)
    counted = [i for i, token in enumerate(ids) if token not in SPECIAL.tolist()]
    total, weights = torch.zeros(WIDTH, dtype=torch.float64), 0.0
    for i in counted or range(len(ids)):
        weight = 1 / float(head(hidden[0, i]).detach().double().softmax(0)[ids[i]]) if counted else 1.0
        total += weight * hidden[0, i].double()
        weights += weight
    torch.testing.assert_close(found[0].double(), total / weights, atol=1e-4, rtol=1e-4)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_rows_do_not_see_each_other() -> None:
    head = head_of(1)
    inputs = torch.randint(4, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))
    hidden = torch.randn(3, 9, WIDTH, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9, 4, 1])
    together = pooled_by_surprisal(head, hidden, inputs, lengths, SPECIAL)
    for row, length in enumerate(lengths.tolist()):
        part = slice(row, row + 1)
        alone = pooled_by_surprisal(head, hidden[part, :length], inputs[part, :length], None, SPECIAL)
        torch.testing.assert_close(together[part], alone)
