"""A plan in words, for terminals: labels and values, one row a fact; and the plan beside what came of it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from toolkit.plan.corpus import cache_root
from toolkit.plan.figures import flop, length_of_time, short, size
from toolkit.plan.length import Every
from toolkit.plan.origin import Origin
from toolkit.plan.plan import Plan
from toolkit.spec.model import ViTArchitecture
from toolkit.spec.recovery import Recovery
from toolkit.spec.spec import PRETRAIN

UNPREPARED = "not known before the data is prepared"


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """What will be trained, for how long, and what it takes. A row without a label continues the last.

    Labels have at most 12 characters and values about 66, so that a row fits a terminal of 80 columns.
    """
    if plan.origin is not None:
        return _imported(plan, plan.origin)
    return [
        ("run", f"{plan.name}/{plan.stage}"),
        ("parent", _parent(plan)),
        ("model", _model(plan)),
        ("parameters", _parameters(plan)),
        *_tune(plan),
        ("length", _length(plan)),
        ("batch", _batch(plan)),
        ("evaluation", f"{_every(plan.evaluate_every)}; checkpoints {_every(plan.checkpoint_every)}"),
        *_recovery(plan),
        ("operations", _operations(plan)),
        *_memory(plan),
        ("disk", _disk(plan)),
        *_shards(plan),
        ("time", _time(plan)),
        *_cost(plan),
        ("fingerprint", plan.fingerprint[:16]),
    ]


def _imported(plan: Plan, origin: Origin) -> list[tuple[str, str]]:
    where = origin.reference if origin.revision is None else f"{origin.reference} at {origin.revision[:12]}"
    return [
        ("run", f"{plan.name}/{plan.stage}"),
        ("imported from", where),
        *([("merged into", origin.adapter_of)] if origin.adapter_of else []),
        ("model", _model(plan)),
        ("parameters", _parameters(plan)),
        ("disk", size(plan.disk.checkpoint)),
        *[("note", note) for note in origin.notes],
        ("fingerprint", plan.fingerprint[:16]),
    ]


def _recovery(plan: Plan) -> list[tuple[str, str]]:
    asked = plan.train.recovery
    if asked == Recovery():
        return []
    return [
        ("bad batches", f"not finite: {asked.on_nonfinite}; spikes: {asked.on_spike}; at most {asked.limit}")
    ]


def _shards(plan: Plan) -> list[tuple[str, str]]:
    if plan.run.shards is None or plan.stage != PRETRAIN or not plan.vocab_size:
        return []
    return [("shards", f"kept in {plan.run.shards}"), ("", f"and in {cache_root()}")]


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
    """Parameters, tokens, flops, seconds and peak_memory (bytes); `actual` has them by these names."""
    planned: dict[str, float | None] = {
        "parameters": plan.parameters.total,
        "tokens": plan.tokens,
        "flops": plan.flops,
        "seconds": plan.seconds,
        "peak_memory": plan.memory.total,
    }
    return [Beside(name, value, actual.get(name)) for name, value in planned.items()]


def _model(plan: Plan) -> str:
    arch = plan.architecture
    heads = f"{arch.n_heads} heads"
    if arch.n_kv_heads != arch.n_heads:
        heads += f" ({arch.n_kv_heads} KV)"
    reads = f"vocabulary {arch.vocab_size:,}"
    if isinstance(arch, ViTArchitecture):
        colour = "" if arch.channels == 3 else ", grey"
        reads = f"{arch.n_patches} patches of {arch.height}x{arch.width}{colour}"
    return f"{arch.preset}, {arch.n_layers} layers of {arch.d_model}, {heads}, {reads}"


def _parent(plan: Plan) -> str:
    if plan.parent is None:
        return "none: starts from random weights"
    scratch = getattr(plan.task, "start", "parent") == "scratch"
    return f"{plan.parent}, of which only the shape is taken" if scratch else str(plan.parent)


def _tune(plan: Plan) -> list[tuple[str, str]]:
    if plan.tune is None:
        return []
    optimizer = plan.train.optimizer
    moving = f"{plan.tune.kind}: {short(plan.trainable)} parameters move, {plan.tune_reason}"
    labels = (
        [("labels", f"{len(plan.labels)}: {', '.join(plan.labels)}")]
        if plan.labels and hasattr(plan.task, "labels")
        else []
    )
    return [*labels, ("tune", moving), ("", f"{optimizer.kind} at {optimizer.lr:g}")]


def _parameters(plan: Plan) -> str:
    count = plan.parameters
    parts = {"embedding": count.embedding, "head": count.head, "non-embedding": count.non_embedding}
    if not count.head:
        parts.pop("head")
    return f"{count.total:,}: {_listing(parts, short)}"


def _length(plan: Plan) -> str:
    if plan.steps is None or plan.tokens is None or plan.tokens_per_parameter is None:
        return f"{plan.train.duration}: {UNPREPARED}"
    parts = [
        f"{plan.steps:,} steps",
        f"{short(plan.tokens)} tokens",
        f"{plan.tokens_per_parameter:.3g} per parameter",
    ]
    if plan.epochs is not None:
        parts.append(f"{plan.epochs:.3g} epochs")
    return ", ".join(parts)


def _batch(plan: Plan) -> str:
    unit = "tokens" if plan.vocab_size else "positions"
    text = f"{plan.batch_rows} rows of {plan.row_length} {unit}"
    if plan.micro_batches > 1:
        text += f", {plan.micro_batch} at once"
    return f"{text}, {plan.precision} on {plan.device}"


def _every(interval: Every | None) -> str:
    if interval is None:
        return "not known yet"
    return f"every {interval if interval.seconds is None else length_of_time(interval.seconds)}"


def _operations(plan: Plan) -> str:
    each = f"{flop(plan.flops_per_token)} per token"
    return each if plan.flops is None else f"{flop(plan.flops)}, {each}"


def _memory(plan: Plan) -> list[tuple[str, str]]:
    memory = plan.memory
    model = {"weights": memory.weights, "casts": memory.casts, "gradients": memory.gradients}
    step = {"optimizer": memory.optimizer, "activations": memory.activations, "logits": memory.logits}
    return [
        ("memory", f"{size(memory.total)}: {_listing(model, size)},"),
        ("", f"{_listing(step, size)},"),
        ("", _listing({"fragmentation": memory.fragmentation, "runtime": memory.runtime}, size)),
    ]


def _disk(plan: Plan) -> str:
    disk = plan.disk
    data = "data not known yet" if disk.data is None else f"data {size(disk.data)}"
    return f"{size(disk.total)}: checkpoints {size(disk.checkpoints)}, {size(disk.checkpoint)} each, {data}"


def _time(plan: Plan) -> str:
    if plan.seconds is not None:
        return f"{length_of_time(plan.seconds)}, by the speed measured on this kind of machine"
    return UNPREPARED if plan.steps is None else "not known: `tk plan --probe` measures it, or the first run"


def _cost(plan: Plan) -> list[tuple[str, str]]:
    cost = plan.cost
    if cost is None:
        return []
    energy = [] if cost.energy_kwh is None else [f"{cost.energy_kwh:.3g} kWh"]
    price = [] if cost.price is None else [f"{cost.price:.2f} {cost.currency}"]
    return [("cost", ", ".join(energy + price))]


def _listing(parts: Mapping[str, int], text: Callable[[float], str]) -> str:
    return ", ".join(f"{name} {text(value)}" for name, value in parts.items())
