"""Batches that would harm the model: how they are told, and where the run goes on after one."""

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Literal, Self

from toolkit.spec.recovery import Recovery

Pair = tuple[float, float]
"""A step's loss and the norm of its gradient."""


class BadBatch(Exception):  # noqa: N818 - names the finding
    """A batch that the optimizer has not seen, and should not."""

    kind: Literal["nonfinite", "spike"]

    def after(self, recovered: int) -> Self:
        """This, told with how many were recovered from before."""
        return (
            type(self)(f"{self} after {recovered} recoveries (train.recovery.limit)") if recovered else self
        )


class NonFinite(BadBatch):
    """The loss or the gradient is not a number."""

    kind = "nonfinite"


class Spike(BadBatch):
    """The loss or the norm of the gradient is far above those of late."""

    kind = "spike"


def action(asked: Recovery, bad: BadBatch, recovered: int) -> Literal["stop", "skip", "rollback"]:
    """What to do about a batch, after so many that were recovered from."""
    chosen = asked.on_nonfinite if bad.kind == "nonfinite" else asked.on_spike
    return "stop" if recovered >= asked.limit or chosen == "ignore" else chosen


def remembered(asked: Recovery, recent: Sequence[Pair], new: Pair) -> list[Pair]:
    """Losses and norms to judge the next step by: empty where spikes are not looked for."""
    return [] if asked.on_spike == "ignore" else [*recent, new][-asked.window :]


def spike(asked: Recovery, recent: Sequence[Pair], loss: float, grad_norm: float) -> str | None:
    """What stands out of a step among those of late; None if nothing does."""
    if asked.on_spike == "ignore" or len(recent) < (asked.window + 1) // 2:
        return None
    losses, norms = zip(*recent, strict=True)
    for name, values, value in (("loss", losses, loss), ("gradient norm", norms, grad_norm)):
        mean, deviation = fmean(values), pstdev(values)
        if value > mean + asked.threshold * deviation:
            return f"{name} {value:.6g}, where the last {len(values)} steps have {mean:.6g} ± {deviation:.3g}"
    return None
