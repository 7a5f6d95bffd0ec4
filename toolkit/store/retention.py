"""Which checkpoints stay."""

import math
from collections.abc import Sequence

from toolkit.store.manifest import Checkpoint

METRIC = "val/loss"
ALWAYS = 2
"""Good checkpoints that no setting removes: if the newest turns out bad, one is left to go back to."""


def criterion(checkpoints: Sequence[Checkpoint]) -> tuple[str, bool]:
    """The metric that these checkpoints of a run are judged by, and whether more of it is better."""
    named = checkpoints[-1].info.get("criterion") if checkpoints else None
    return (str(named["metric"]), bool(named["higher"])) if named else (METRIC, False)


def by_merit(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those that have the metric they are judged by, the best first; of equals the later."""
    metric, higher = criterion(checkpoints)
    sign = -1 if higher else 1
    scored = [item for item in checkpoints if math.isfinite(item.metrics.get(metric, math.nan))]
    return sorted(scored, key=lambda item: (sign * item.metrics[metric], -item.step))


def to_keep(
    good: Sequence[Checkpoint], *, last: int, best: int, every: int | None, back: int | None = None
) -> set[int]:
    """Steps to keep of the good checkpoints: the last ones, the best ones, each `every`-th step, and the last
    `back`-th, which a rollback goes to."""
    steps = sorted(item.step for item in good)
    points = [step for step in steps if back and step % back == 0]
    return {
        *points[-1:],
        *steps[-max(last, ALWAYS) :],
        *(item.step for item in by_merit(good)[:best]),
        *(step for step in steps if every and step % every == 0),
    }
