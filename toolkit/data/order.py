"""Which row is sample n: a pure function of the seed and n, in constant memory; nothing is saved on a stop.

Samples are counted from the start of training. Every block of 4,096 draws from each source in proportion to
its weight, in an order of the block's own. Each source is read in epochs: every row once, in a new
permutation each time (a Feistel network over the row numbers; Black and Rogaway 2002).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
_ROUNDS = 6

Numbers = NDArray[np.int64]
_Words = NDArray[np.uint64]


class Picks(NamedTuple):
    """For each sample, the source and the row in it: shape (n,)."""

    source: Numbers
    row: Numbers


@dataclass(frozen=True)
class Order:
    """The order of a mix.

    Attributes:
        seed: Of the run.
        weights: Of the sources, relative to one another.
        rows: Of each source, at least one.
        keys: One number a source, from its content: its permutations don't depend on the rest of the mix.
    """

    seed: int
    weights: tuple[float, ...]
    rows: tuple[int, ...]
    keys: tuple[int, ...]

    @cached_property
    def quotas(self) -> Numbers:
        """Samples of each source in a block: the largest remainders are rounded up, and none is zero."""
        exact = np.array(self.weights) / sum(self.weights) * BLOCK
        quotas = np.maximum(np.floor(exact).astype(np.int64), 1)
        while (missing := BLOCK - int(quotas.sum())) > 0:
            largest = np.argsort(quotas - exact, kind="stable")[:missing]
            quotas[largest] += 1
        while quotas.sum() > BLOCK:
            quotas[np.argmax(quotas)] -= 1
        return quotas

    def picks(self, samples: Numbers) -> Picks:
        """The source and row of each of these samples, shape (n,)."""
        source, place = self._sources(samples)
        row = np.empty_like(place)
        for i, n_rows in enumerate(self.rows):
            own = source == i
            epochs = place[own] // n_rows
            picked = place[own] % n_rows
            for epoch in np.unique(epochs):
                now = epochs == epoch
                key = mix(self.seed, self.keys[i], int(epoch))
                picked[now] = permute(picked[now], n_rows, key)
            row[own] = picked
        return Picks(source, row)

    def _sources(self, samples: Numbers) -> tuple[Numbers, Numbers]:
        """The source of each sample, and how many samples before it were of that source."""
        if len(self.rows) == 1:
            return np.zeros_like(samples), samples
        source, place = np.empty_like(samples), np.empty_like(samples)
        blocks = samples // BLOCK
        for block in np.unique(blocks):
            now = blocks == block
            slots = samples[now] % BLOCK
            shuffled = np.argsort(scramble(np.arange(BLOCK, dtype=np.uint64), mix(self.seed, int(block))))
            assigned = np.repeat(np.arange(len(self.rows)), self.quotas)[shuffled]
            rank = np.empty(BLOCK, np.int64)
            for i, quota in enumerate(self.quotas.tolist()):
                rank[assigned == i] = np.arange(quota)
            source[now] = assigned[slots]
            place[now] = block * self.quotas[assigned[slots]] + rank[slots]
        return source, place


def permute(numbers: Numbers, n: int, key: int) -> Numbers:
    """The place of each number (below n) in a permutation of 0 … n - 1 that `key` chooses.

    A Feistel network permutes the smallest power of two that holds n; a result beyond n goes through again.
    """
    bits = max((n - 1).bit_length(), 2)
    low_bits = np.uint64(bits // 2)
    high_bits = np.uint64(bits - bits // 2)
    result = numbers.astype(np.uint64)
    moving = np.ones(len(numbers), bool)
    while moving.any():
        result[moving] = _feistel(result[moving], low_bits, high_bits, key)
        moving = result >= n
    return result.astype(np.int64)


def _feistel(words: _Words, low_bits: np.uint64, high_bits: np.uint64, key: int) -> _Words:
    low_mask, high_mask = _mask(low_bits), _mask(high_bits)
    low, high = words & low_mask, words >> low_bits
    for i in range(0, _ROUNDS, 2):
        high ^= scramble(low, mix(key, i)) & high_mask
        low ^= scramble(high, mix(key, i + 1)) & low_mask
    return (high << low_bits) | low


def _mask(bits: np.uint64) -> np.uint64:
    return (np.uint64(1) << bits) - np.uint64(1)


def mix(*numbers: int) -> int:
    """One 64-bit key from several."""
    key = 0
    for number in numbers:
        word = np.array([number % 2**64], np.uint64)
        key = int(scramble(word, key)[0])
    return key


def scramble(words: _Words, key: int) -> _Words:
    """splitmix64 (Steele et al. 2014), keyed: a bijection of 64-bit words."""
    z = (words ^ np.uint64(key)) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
