"""Smoothing as TensorBoard does it: an exponential mean, freed of its bias towards zero."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
PART = 1 << 14


class Mean:
    """The running mean itself, of values that are all finite, given part by part."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.seen = 0
        self._mean = 0.0

    def take(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean after each of these values."""
        w, n = self.weight, len(x)
        if not n:
            return x
        kernel, powers = _kernel(w)
        blocks = -(-n // BLOCK)
        padded = np.zeros(blocks * BLOCK)
        padded[:n] = x
        inner = padded.reshape(blocks, BLOCK) @ kernel.T
        carry = np.empty(blocks)
        decay, mean = w**BLOCK, self._mean
        for index, last in enumerate(inner[:, -1].tolist()):
            carry[index] = mean
            mean = decay * mean + last
        means = (inner + carry[:, None] * powers).reshape(-1)[:n]
        self._mean = float(means[-1])
        counts = self.seen + np.arange(1, n + 1)
        self.seen += n
        biased = w > 0 and counts[0] * -np.log(w) < 40  # after that many values 1 - w^t is 1
        return means / (1 - w**counts) if biased else means


@lru_cache
def _kernel(weight: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each value of a block adds to each mean of it, and what is left of the mean before."""
    lag = np.arange(BLOCK)[:, None] - np.arange(BLOCK)[None, :]
    kernel: NDArray[np.float64] = np.where(lag >= 0, (1 - weight) * weight ** np.maximum(lag, 0), 0.0)
    return kernel, np.power(weight, np.arange(1.0, BLOCK + 1))


class Smoother:
    """The smoothed values of a series that grows; each value is computed once.

    y_t = w y_{t-1} + (1 - w) x_t, divided by 1 - w^t. Values that are not finite are passed over.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._mean, self._done = Mean(weight), 0
        self._smooth = np.empty(0, np.float32)

    def update(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The smoothed values, of the same length. `values` begins with what was given before, or is new."""
        total = len(values)
        if total < self._done:
            self._mean, self._done = Mean(self._weight), 0
        if total > len(self._smooth):
            larger = np.empty(total + total // 8, np.float32)
            larger[: self._done] = self._smooth[: self._done]
            self._smooth = larger
        while self._done < total:
            # Part by part: the work on the way takes ten times the memory of what it is about.
            part = slice(self._done, min(self._done + PART, total))
            fresh = values[part].astype(np.float64)
            finite = np.isfinite(fresh)
            self._smooth[part] = np.nan
            self._smooth[part][finite] = self._mean.take(fresh[finite])
            self._done = part.stop
        return self._smooth[:total]
