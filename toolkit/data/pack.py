"""Best-fit decreasing bin packing (Johnson 1973), over sizes instead of items: exact, and fast for many.

Ding et al. 2024, "Fewer truncations improve language modeling", use it for rows of documents.
"""

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray


def best_fit(sizes: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The bin of each item, shape (n,): largest item first, each into the fullest bin that still holds it.

    Args:
        sizes: Of the items, each from 1 to `capacity`.
    """
    if not len(sizes):
        return np.empty(0, np.int64)
    order = np.argsort(-sizes, kind="stable")
    bins = np.empty(len(sizes), np.int64)
    spaces: list[int] = []  # the free spaces that some bin has, ascending
    free: dict[int, list[NDArray[np.int64]]] = {}  # the bins that have this much space
    n_bins = 0
    values, firsts = np.unique(-sizes[order], return_index=True)
    for size, items in zip((-values).tolist(), np.split(order, firsts[1:]), strict=True):
        placed = 0
        while placed < len(items):
            at = bisect_left(spaces, size)
            if at == len(spaces):
                per_bin = capacity // size
                needed = -(-(len(items) - placed) // per_bin)
                open_bins, space = np.arange(n_bins, n_bins + needed), capacity
                n_bins += needed
            else:
                space = spaces.pop(at)
                open_bins = np.concatenate(free.pop(space))
                per_bin = space // size
            # As equal items come one after another, the fullest bin is the one just used: it is filled first.
            wanted = len(items) - placed
            full = min(wanted // per_bin, len(open_bins))
            used = full * per_bin
            bins[items[placed : placed + used]] = np.repeat(open_bins[:full], per_bin)
            _give_back(spaces, free, space - per_bin * size, open_bins[:full])
            rest = wanted - used
            if full < len(open_bins):
                if rest:
                    bins[items[placed + used :]] = open_bins[full]
                    used += rest
                    _give_back(spaces, free, space - rest * size, open_bins[full : full + 1])
                    full += 1
                _give_back(spaces, free, space, open_bins[full:])
            placed += used
    return bins


def _give_back(
    spaces: list[int], free: dict[int, list[NDArray[np.int64]]], space: int, bins: NDArray[np.int64]
) -> None:
    if not space or not len(bins):
        return
    if space not in free:
        insort(spaces, space)
        free[space] = []
    free[space].append(bins)
