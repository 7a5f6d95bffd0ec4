"""A plan in words, for terminals: labels and values, one row a fact, and the plan beside what came of it."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from toolkit.plan.plan import Plan
from toolkit.plan.warnings import short

UNKNOWN_LENGTH = "not known before the data is prepared"


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """What will be trained, for how long, and what it takes. A row without a label continues the one above.

    Labels have at most 12 characters and values 66, so that a row fits a terminal of 80 columns.
    """
    arch, parameters = plan.architecture, plan.parameters
    origin = f"from checkpoint {plan.parent[:12]}" if plan.parent else "from random weights"
    parts = {"embedding": parameters.embedding, "head": parameters.head, "other": parameters.non_embedding}
    return [
        ("run", f"{plan.name}/{plan.stage}, {origin}"),
        (
            "model",
            f"{arch.kind} ({arch.preset}), {arch.n_layers} layers x {arch.d_model} wide, "
            f"{arch.n_heads} heads, {plan.vocab_size:,} tokens",
        ),
        ("parameters", f"{parameters.total:,}: {_listing(parts, short)}"),
        ("length", _length(plan)),
        ("batch", _batch(plan)),
        ("evaluation", f"{_every(plan.evaluate_every)}; checkpoint {_every(plan.checkpoint_every)}"),
        ("device", f"{plan.device}, {plan.precision}"),
        ("compute", _compute(plan)),
        *_memory(plan),
        ("disk", _disk(plan)),
        ("time", _time(plan)),
        *_cost(plan),
        ("fingerprint", plan.fingerprint[:16]),
    ]


class Beside(NamedTuple):
    """A figure of the plan and what it came to; None where one of them is not known."""

    name: str
    planned: float | None
    actual: float | None

    @property
    def ratio(self) -> float | None:
        """Actual over planned."""
        if not self.planned or self.actual is None:
            return None
        return self.actual / self.planned


def plan_beside_actual(plan: Plan, actual: Mapping[str, float]) -> list[Beside]:
    """Parameters, tokens, flops, seconds and peak_memory (bytes). `actual` has them by these names."""
    planned: dict[str, float | None] = {
        "parameters": plan.parameters.total,
        "tokens": plan.tokens,
        "flops": plan.flops,
        "seconds": plan.seconds,
        "peak_memory": plan.memory.total,
    }
    return [Beside(name, value, actual.get(name)) for name, value in planned.items()]


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: float) -> str:
    """Bytes in KiB, MiB or GiB, three figures: `51.3 MiB`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            value = count / unit
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{count:.0f} bytes"


def _length(plan: Plan) -> str:
    if plan.steps is None or plan.tokens is None:
        return f"{plan.train.duration}: {UNKNOWN_LENGTH}"
    text = f"{short(plan.tokens)} tokens in {plan.steps:,} steps, {plan.tokens_per_parameter:.3g} a parameter"
    return text if plan.epochs is None else f"{text}, {plan.epochs:.3g} epochs"


def _batch(plan: Plan) -> str:
    text = f"{plan.batch_rows} rows x {plan.sequence_length} = {plan.batch_tokens:,} tokens"
    if plan.micro_batches == 1:
        return f"{text}, all at once"
    return f"{text}, in {plan.micro_batches} micro-batches of {plan.micro_batch} rows"


def _every(interval: object) -> str:
    return "not known yet" if interval is None else f"every {interval}"


def _compute(plan: Plan) -> str:
    each = f"{short(plan.flops_per_token)} a token"
    return f"{UNKNOWN_LENGTH}; {each}" if plan.flops is None else f"{plan.flops:.3g} FLOPs, {each}"


def _memory(plan: Plan) -> list[tuple[str, str]]:
    memory = plan.memory
    before = {"weights": memory.weights, "casts": memory.casts, "gradients": memory.gradients}
    after = {"optimizer": memory.optimizer, "activations": memory.activations, "logits": memory.logits}
    return [
        ("memory", f"{size(memory.total)}: {_listing(before, size)},"),
        ("", _listing(after, size)),
        ("", f"and {size(memory.runtime)} of Python and its libraries"),
    ]


def _disk(plan: Plan) -> str:
    disk = plan.disk
    data = "data not known yet" if disk.data is None else f"data {size(disk.data)}"
    return f"{size(disk.total)}: checkpoints {size(disk.checkpoints)} ({size(disk.checkpoint)} each), {data}"


def _time(plan: Plan) -> str:
    if plan.seconds is not None:
        return f"{duration(plan.seconds)} on this machine, as measured"
    return UNKNOWN_LENGTH if plan.steps is None else "not known: `tk plan --probe` measures it"


def _cost(plan: Plan) -> list[tuple[str, str]]:
    cost = plan.cost
    if cost is None:
        return []
    energy = [] if cost.energy_kwh is None else [f"{cost.energy_kwh:.3g} kWh"]
    price = [] if cost.price is None else [f"{cost.price:.2f} {cost.currency}"]
    return [("cost", ", ".join(energy + price))]


def _listing(parts: Mapping[str, int], text: Callable[[float], str]) -> str:
    return ", ".join(f"{name} {text(value)}" for name, value in parts.items())
