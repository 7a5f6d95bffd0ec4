"""A document's hash: by it equal documents are recognised and the held-out share is chosen."""

import hashlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
"""(n, 2): two halves of 64 bits for each document."""


def digest(text: bytes) -> bytes:
    """128-bit blake2b of a document's UTF-8 bytes."""
    return hashlib.blake2b(text, digest_size=16).digest()


def as_hashes(digests: list[bytes]) -> Hashes:
    """Digests as numbers, shape (n, 2)."""
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def cutoff(share: float, hashes: Hashes | None = None) -> int:
    """Documents whose first half lies below this are held out: a property of the text alone.

    With the hashes of a source of two documents or more, at least one of them is: that of the smallest hash.
    """
    limit = int(share * 2.0**64)
    if hashes is not None and len(hashes) > 1:
        limit = max(limit, int(hashes[:, 0].min()) + 1)
    return min(limit, 2**64 - 1)


class Seen:
    """A set of document hashes in sorted arrays: 16 bytes a document, looked up a batch at a time."""

    def __init__(self) -> None:
        self._levels: list[Hashes] = []

    def add(self, hashes: Hashes) -> None:
        """Adds hashes, shape (n, 2)."""
        if not len(hashes):
            return
        self._levels.append(hashes[np.argsort(hashes[:, 0], kind="stable")])
        # Levels at least halve in size, so that there are few of them and each hash is merged seldom.
        while len(self._levels) > 1 and len(self._levels[-1]) * 2 > len(self._levels[-2]):
            merged = np.concatenate([self._levels.pop(), self._levels.pop()])
            self._levels.append(merged[np.argsort(merged[:, 0], kind="stable")])

    def __len__(self) -> int:
        return sum(map(len, self._levels))

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these have been added, shape (n,)."""
        found = np.zeros(len(hashes), bool)
        for level in self._levels:
            place = np.minimum(np.searchsorted(level[:, 0], hashes[:, 0]), len(level) - 1)
            found |= (level[place] == hashes).all(axis=1)
        return found

    def new(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these were never added and stand for the first time in this batch; adds them."""
        fresh = ~self.contains(hashes)
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal ones keep their order
        for before, after in pairwise(order[fresh[order]]):
            if (hashes[before] == hashes[after]).all():
                fresh[after] = False
        self.add(hashes[fresh])
        return fresh
