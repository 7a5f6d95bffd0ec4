"""From the quantities of a spec to rows and steps."""

import math

from pydantic import BaseModel, ConfigDict

from toolkit.plan.corpus import CorpusFacts
from toolkit.spec.duration import BatchSize, Interval, TrainLength

EVALUATIONS = 10
"""Evaluations of a run whose spec doesn't say how many."""


class Every(BaseModel):
    """An interval of the loop: so many steps, or so many seconds; exactly one of them is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.steps is None:
            return f"{self.seconds:g} seconds"
        return "step" if self.steps == 1 else f"{self.steps} steps"


def count_batch_rows(batch: BatchSize, sequence_length: int) -> int:
    """Rows of a global batch: whole ones, so that the batch is never larger than asked; at least one."""
    if batch.unit == "tokens":
        return max(1, int(batch.value) // sequence_length)
    return int(batch.value)


def count_steps(
    duration: TrainLength,
    *,
    batch_rows: int,
    sequence_length: int,
    parameters: int,
    facts: CorpusFacts | None,
) -> int | None:
    """Steps that cover `duration`, at least one; None for epochs of a corpus that is not prepared yet.

    Epochs count passes over the training rows of all sources together. Tokens count slots of the batch,
    of which a few at the end of a row may be empty. `tokens/param` counts every learned parameter.
    """
    match duration.unit:
        case "steps":
            return int(duration.value)
        case "samples":
            rows = float(duration.value)
        case "tokens":
            rows = duration.value / sequence_length
        case "tokens/param":
            rows = duration.value * parameters / sequence_length
        case "epochs":
            if facts is None:
                return None
            rows = duration.value * facts.train.rows
        case _:
            raise ValueError(f"no rule for a length in {duration.unit}")
    return max(1, math.ceil(rows / batch_rows))


def resolve_interval(
    interval: Interval,
    *,
    batch_rows: int,
    sequence_length: int,
    facts: CorpusFacts | None,
) -> Every | None:
    """`interval` in steps or seconds; None for epochs of a corpus that is not prepared yet."""
    if interval.seconds is not None:
        return Every(seconds=float(interval.seconds))
    match interval.unit:
        case "steps":
            steps = float(interval.value)
        case "tokens":
            steps = interval.value / (batch_rows * sequence_length)
        case "epochs":
            if facts is None:
                return None
            steps = interval.value * facts.train.rows / batch_rows
        case _:
            raise ValueError(f"no rule for an interval in {interval.unit}")
    return Every(steps=max(1, round(steps)))


def evaluation_interval(steps: int | None) -> Every | None:
    """The interval that gives `EVALUATIONS` evaluations over the run."""
    return None if steps is None else Every(steps=math.ceil(steps / EVALUATIONS))
