"""Best-fit decreasing, against the textbook's loop."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data.pack import best_fit


def textbook(sizes: list[int], capacity: int) -> list[int]:
    """The free space of each bin, ascending, when each item goes into the fullest bin that holds it."""
    free: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [i for i, space in enumerate(free) if space >= size]
        if fitting:
            free[min(fitting, key=lambda i: free[i])] -= size
        else:
            free.append(capacity - size)
    return sorted(free)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 40))
def test_fills_bins_as_the_textbook_does(data: st.DataObject, capacity: int) -> None:
    sizes = data.draw(st.lists(st.integers(1, capacity), max_size=80))
    bins = best_fit(np.array(sizes, np.int64), capacity)
    filled = np.bincount(bins, weights=sizes) if sizes else np.zeros(0)
    assert sorted(capacity - filled) == textbook(sizes, capacity)


def test_rows_of_real_lengths_are_nearly_full() -> None:
    sizes = np.random.default_rng(0).integers(1, 1024, 20_000)
    bins = best_fit(sizes, 1024)
    assert sizes.sum() / (1024 * (bins.max() + 1)) > 0.99
