"""From scores to what they mean: pure functions on numbers."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from scipy.stats import t as student

CONFIDENCE = 0.95

Bound = Literal["at", "at most", "more than"]


class Spread(NamedTuple):
    """Scores of several seeds: mean, standard deviation, and the 95 % confidence interval of the mean (Student's t).

    With one seed nothing is known of the spread: the last three are NaN.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


class Reach(NamedTuple):
    """Where a curve first comes up to a wanted score: at a place between two measured points, at most at the first, or
    more than at the last."""

    value: float
    bound: Bound


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError without a value."""
    n = len(values)
    if not n:
        raise ValueError("no score")
    mean = math.fsum(values) / n
    if n == 1:
        return Spread(mean, math.nan, math.nan, math.nan, 1)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n)
    return Spread(mean, std, mean - half, mean + half, n)


def apart(better: Spread, worse: Spread, *, higher: bool) -> bool | None:
    """Whether the intervals leave a gap, in the direction that is meant; None where a spread is not known."""
    if min(better.n, worse.n) < 2:
        return None
    return better.low > worse.high if higher else better.high < worse.low


def reach(
    points: Sequence[tuple[float, float]], wanted: float, *, higher: bool, logarithmic: bool = False
) -> Reach:
    """The least x at which the curve of (x, score), by ascending x, is as good as `wanted`.

    Straight lines join the points, over log x where `logarithmic`. Raises ValueError without a point.
    """
    if not points:
        raise ValueError("no point")
    sign = 1 if higher else -1
    before: tuple[float, float] | None = None
    for x, score in points:
        gap = sign * (score - wanted)
        if gap >= 0:
            if before is None:
                return Reach(x, "at most")
            x0, gap0 = before
            share = -gap0 / (gap - gap0)
            if logarithmic:
                return Reach(math.exp(math.log(x0) + share * (math.log(x) - math.log(x0))), "at")
            return Reach(x0 + share * (x - x0), "at")
        before = (x, gap)
    return Reach(points[-1][0], "more than")


def pay_back(pretraining: float, from_scratch: float, from_parent: float) -> int | None:
    """How many fine-tunes save what the pretraining took; None where they save nothing."""
    saved = from_scratch - from_parent
    return math.ceil(pretraining / saved) if saved > 0 else None


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean of curves of (x, score) point by point, as far as the shortest goes."""
    return [
        (math.fsum(x for x, _ in points) / len(points), math.fsum(y for _, y in points) / len(points))
        for points in zip(*curves, strict=False)
    ]
