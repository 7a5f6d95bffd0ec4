"""Which checkpoints stay."""

import math
from collections.abc import Sequence

from toolkit.store.manifest import Checkpoint

METRIC = "val/loss"
ALWAYS = 2
"""Good checkpoints that no setting removes: if the newest turns out bad, one is left to go back to."""


def by_merit(checkpoints: Sequence[Checkpoint], metric: str = METRIC) -> list[Checkpoint]:
    """Those that have the metric, the lowest first; of equals the later."""
    scored = [item for item in checkpoints if math.isfinite(item.metrics.get(metric, math.nan))]
    return sorted(scored, key=lambda item: (item.metrics[metric], -item.step))


def to_keep(
    good: Sequence[Checkpoint], *, last: int, best: int, every: int | None, metric: str = METRIC
) -> set[int]:
    """Steps to keep of the good checkpoints: the last ones, the best ones, each `every`-th step."""
    steps = sorted(item.step for item in good)
    return {
        *steps[-max(last, ALWAYS) :],
        *(item.step for item in by_merit(good, metric)[:best]),
        *(step for step in steps if every and step % every == 0),
    }
