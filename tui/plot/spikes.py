"""Where a curve that grows jumps up far above its own noise."""

import numpy as np
from numpy.typing import NDArray

from tui.plot.smooth import PART, Mean

SPIKE, WEIGHT, SETTLED = 10.0, 0.95, 50
"""A spike is a value so many mean deviations above the mean, both exponential, after so many points."""


class SpikeFinder:
    """The spikes of a series; each value is looked at once."""

    def __init__(self) -> None:
        self._mean, self._deviation = Mean(WEIGHT), Mean(WEIGHT)
        self._last = 0.0, 0.0
        """Mean and mean deviation after the last value."""
        self._done = 0
        self._places: list[int] = []

    def update(self, values: NDArray[np.float32]) -> list[int]:
        """The places of all spikes. `values` begins with what was given before."""
        while self._done < len(values):
            part = values[self._done : self._done + PART]
            self._places += [self._done + place for place in self._take(part)]
            self._done += len(part)
        return self._places

    def _take(self, part: NDArray[np.float32]) -> list[int]:
        finite = np.flatnonzero(np.isfinite(part))
        if not len(finite):
            return []
        x = part[finite].astype(np.float64)
        seen = self._mean.seen
        means = self._mean.take(x)
        before = np.concatenate(([self._last[0] if seen else x[0]], means[:-1]))
        above = x - before
        # The first value of all has nothing to be above of.
        new = above if seen else above[1:]
        spread = self._deviation.take(np.abs(new))
        usual = np.concatenate(([self._last[1]] * (1 if seen else 2), spread))[: len(x)]
        self._last = float(means[-1]), float(spread[-1]) if len(spread) else self._last[1]
        high = (above > SPIKE * np.maximum(usual, 1e-12)) & (above > 0.05 * np.abs(before))
        high &= seen + np.arange(len(x)) > SETTLED
        return [int(place) for place in finite[high]]
