"""A plan in words, for terminals: labels and values, one row a fact."""

from toolkit.plan.figures import flop, gib, length_of_time, short
from toolkit.plan.memory import Memory
from toolkit.plan.plan import Plan


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """What will be trained, how long, and what it takes. Labels have at most 12 characters."""
    rows = [
        ("run", f"{plan.name}/{plan.stage}"),
        ("parent", plan.parent or "none: starts from random weights"),
        ("model", _model(plan)),
        ("parameters", _parameters(plan)),
        ("length", _length(plan)),
        ("batch", _batch(plan)),
        ("operations", _operations(plan)),
        ("memory", _memory(plan.memory)),
        ("disk", _disk(plan)),
        ("time", _time(plan)),
    ]
    cost = _cost(plan)
    return [*rows, ("cost", cost)] if cost else rows


def _model(plan: Plan) -> str:
    arch = plan.architecture
    heads = f"{arch.n_heads} heads"
    if arch.n_kv_heads != arch.n_heads:
        heads += f" ({arch.n_kv_heads} of keys and values)"
    return (
        f"{arch.preset}: {arch.n_layers} layers of {arch.d_model}, {heads}, vocabulary {arch.vocab_size:,}, "
        f"{plan.objective.kind}"
    )


def _parameters(plan: Plan) -> str:
    count = plan.parameters
    head = f"head {count.head:,}" if count.head else "head tied"
    return f"{count.total:,} (embedding {count.embedding:,}, {head}, non-embedding {count.non_embedding:,})"


def _length(plan: Plan) -> str:
    if plan.steps is None or plan.tokens is None or plan.tokens_per_parameter is None:
        return f"{plan.train.duration}; in steps when the data is prepared"
    parts = [
        f"{plan.steps:,} steps",
        f"{short(plan.tokens)} tokens",
        f"{plan.tokens_per_parameter:.3g} per parameter",
    ]
    if plan.epochs is not None:
        parts.append(f"{plan.epochs:.3g} epochs")
    return ", ".join(parts)


def _batch(plan: Plan) -> str:
    text = f"{plan.batch_rows} rows of {plan.sequence_length} tokens"
    if plan.micro_batches > 1:
        text += f", {plan.micro_batch} at once"
    return f"{text}, {plan.precision} on {plan.device}"


def _operations(plan: Plan) -> str:
    each = f"{flop(plan.flops_per_token)} per token"
    return each if plan.flops is None else f"{flop(plan.flops)}, {each}"


def _memory(memory: Memory) -> str:
    terms = memory.model_dump(exclude={"total"})
    return f"{gib(memory.total)} (" + ", ".join(f"{k} {v / 2**30:.2f}" for k, v in terms.items()) + ")"


def _disk(plan: Plan) -> str:
    text = f"{gib(plan.disk.checkpoints)} for checkpoints of {gib(plan.disk.checkpoint)}"
    if plan.disk.data is not None:
        text += f", {gib(plan.disk.data)} for tokens"
    return text


def _time(plan: Plan) -> str:
    if plan.seconds is not None:
        return f"{length_of_time(plan.seconds)}, by the speed measured on this kind of machine"
    if plan.steps is None:
        return "not known before the data is prepared"
    return "not measured on this machine yet: `tk plan --probe` or the first run does"


def _cost(plan: Plan) -> str | None:
    if plan.cost is None:
        return None
    parts = []
    if plan.cost.energy_kwh is not None:
        parts.append(f"{plan.cost.energy_kwh:.3g} kWh")
    if plan.cost.price is not None:
        parts.append(f"{plan.cost.price:.2f} {plan.cost.currency}")
    return ", ".join(parts)
