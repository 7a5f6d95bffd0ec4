"""What a run takes beside memory: disk, time, energy and money."""

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from toolkit.plan.corpus import CorpusFacts
from toolkit.plan.memory import FLOAT, optimizer_bytes
from toolkit.plan.probe import ProbeRecord
from toolkit.plan.sizes import Parameters
from toolkit.spec.model import Architecture
from toolkit.spec.run import Keep, Rates
from toolkit.spec.train import Optimizer

if TYPE_CHECKING:
    from toolkit.plan.plan import Plan


class Disk(BaseModel):
    """Bytes that a run leaves, and that it needs while it saves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: int
    """One checkpoint: weights and optimizer state in float32."""
    checkpoints: int
    """All that are kept at once, and the one being written."""
    data: int | None
    """Token shards in the cache; None before the data is prepared."""
    total: int


class Cost(BaseModel):
    """What a run costs, by the rates of `[run.rates]`; None where a rate is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    energy_kwh: float | None
    price: float | None
    currency: str


def estimate_disk(
    arch: Architecture,
    *,
    parameters: Parameters,
    optimizer: Optimizer,
    keep: Keep,
    steps: int | None,
    facts: CorpusFacts | None,
) -> Disk:
    """Disk for the checkpoints that `keep` keeps and for the tokens."""
    checkpoint = FLOAT * parameters.total + optimizer_bytes(arch, optimizer, parameters.total)
    every = steps // keep.every if keep.every and steps else 0
    checkpoints = checkpoint * (keep.last + keep.best + every + 1)
    data = None
    if facts is not None:
        data = (facts.train.tokens + facts.validation.tokens) * (
            token_bytes(facts.vocab_size) if arch.vocab_size else math.prod(facts.shape)
        )
    return Disk(checkpoint=checkpoint, checkpoints=checkpoints, data=data, total=checkpoints + (data or 0))


def token_bytes(vocab_size: int) -> int:
    """Bytes of the smallest unsigned integer that holds every token id."""
    return next(size for size in (1, 2, 4) if vocab_size <= 1 << 8 * size)


def estimate_seconds(plan: "Plan", facts: CorpusFacts | None, probe: ProbeRecord) -> float | None:
    """Time of the steps and of the evaluations, at the measured speeds; None when the length is not known."""
    if plan.steps is None or plan.tokens is None:
        return None
    seconds = plan.tokens / probe.tokens_per_second
    if probe.evaluation_tokens_per_second and facts is not None:
        tokens = evaluation_rows(plan, facts) * plan.row_length
        seconds += tokens / probe.evaluation_tokens_per_second
    return seconds


def evaluation_rows(plan: "Plan", facts: CorpusFacts) -> int:
    """Held-out rows read over the run: a sample at each evaluation but the last, which reads all of them."""
    held_out = facts.validation.rows
    every = plan.evaluate_every.steps if plan.evaluate_every else None
    before_last = -(-plan.steps // every) - 1 if plan.steps and every else 0
    return before_last * min(plan.run.evaluate_rows, held_out) + held_out


def estimate_cost(seconds: float | None, rates: Rates) -> Cost | None:
    """Energy and price of `seconds` of the machine; None when neither can be told."""
    if seconds is None or (rates.per_hour is None and rates.watts is None):
        return None
    hours = seconds / 3600
    energy = None if rates.watts is None else rates.watts * hours / 1000
    parts = []
    if rates.per_hour is not None:
        parts.append(rates.per_hour * hours)
    if energy is not None and rates.per_kwh is not None:
        parts.append(rates.per_kwh * energy)
    return Cost(energy_kwh=energy, price=sum(parts) if parts else None, currency=rates.currency)
