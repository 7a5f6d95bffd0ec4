"""The order of samples is a permutation each epoch, mixed by weight, and needs no state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data.order import BLOCK, Order, permute


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, key)), np.arange(n))


def test_permute_looks_random() -> None:
    n = 10_000
    places = permute(np.arange(n), n, 7)
    assert abs(np.corrcoef(np.arange(n), places)[0, 1]) < 0.05
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.05
    other = permute(np.arange(n), n, 8)
    assert (places == other).sum() < 10
    first = [int(permute(np.arange(1), 8, key)[0]) for key in range(8000)]
    assert np.bincount(first).min() > 850


def test_permute_reaches_far() -> None:
    n = 2**40 + 12345
    places = permute(np.arange(n - 1000, n), n, 1)
    assert len(set(places.tolist())) == 1000
    assert places.min() >= 0
    assert places.max() < n
    assert places.std() > n / 5


def order(**changes: object) -> Order:
    fields = {"seed": 1, "weights": (3.0, 1.0, 0.5), "rows": (1000, 77, 5), "keys": (11, 22, 33)}
    return Order(**(fields | changes))  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 20_000),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2**63 - 1),
    st.integers(1, 3),
)
def test_samples_do_not_depend_on_how_they_are_asked_for(
    start: int, one: int, two: int, seed: int, sources: int
) -> None:
    made = order(seed=seed)
    made = Order(seed, made.weights[:sources], made.rows[:sources], made.keys[:sources])
    whole = made.picks(np.arange(start, start + one + two))
    parts = [made.picks(np.arange(start, start + one)), made.picks(np.arange(start + one, start + one + two))]
    for field in ("source", "row"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        assert np.array_equal(getattr(whole, field), joined)


def test_each_source_is_read_in_epochs() -> None:
    made = order()
    picks = made.picks(np.arange(3 * BLOCK))
    for source, n_rows in enumerate(made.rows):
        rows = picks.row[picks.source == source]
        epochs = [rows[i : i + n_rows] for i in range(0, len(rows) - n_rows + 1, n_rows)]
        assert len(epochs) >= 2
        for epoch in epochs:
            assert np.array_equal(np.sort(epoch), np.arange(n_rows))
        if n_rows > 50:
            assert not np.array_equal(epochs[0], epochs[1])


def test_every_block_keeps_the_weights() -> None:
    made = order()
    counts = [np.bincount(made.picks(np.arange(b * BLOCK, (b + 1) * BLOCK)).source) for b in range(3)]
    assert all(np.array_equal(count, made.quotas) for count in counts)
    assert np.allclose(made.quotas / BLOCK, np.array([3, 1, 0.5]) / 4.5, atol=1 / BLOCK)


def test_the_smallest_weight_is_drawn_at_all() -> None:
    assert order(weights=(1e6, 1.0, 1e-9)).quotas.tolist() == [BLOCK - 2, 1, 1]


def test_another_seed_is_another_order() -> None:
    samples = np.arange(500)
    one, two = order(seed=1).picks(samples), order(seed=2).picks(samples)
    assert not np.array_equal(one.source, two.source)
    assert (one.row == two.row).mean() < 0.3


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_order_stays_what_it_was(seed: int) -> None:
    """A run resumed by a later version reads on in the same order."""
    picks = order(seed=seed).picks(np.arange(4090, 4100))
    golden = {
        0: GOLDEN_ZERO,
        2**63 - 1: GOLDEN_LARGE,
    }[seed]
    assert [*zip(picks.source.tolist(), picks.row.tolist(), strict=True)] == golden


GOLDEN_ZERO = [
    (0, 292),
    (0, 300),
    (0, 907),
    (0, 311),
    (0, 258),
    (1, 73),
    (0, 750),
    (0, 217),
    (0, 923),
    (0, 219),
]
GOLDEN_LARGE = [(1, 42), (0, 0), (2, 1), (0, 375), (0, 68), (0, 949), (0, 710), (2, 4), (0, 349), (0, 295)]
