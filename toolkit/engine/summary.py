"""The account at the end of a run: what came out, what it cost beside what was planned, what to do next."""

from collections.abc import Iterator, Mapping

from toolkit.engine.checkpointing import State
from toolkit.plan.cost import estimate_cost
from toolkit.plan.figures import length_of_time
from toolkit.plan.plan import Plan
from toolkit.plan.recipe import NECKS
from toolkit.spec.export import POOLS, export_obstacle
from toolkit.spec.model import GPTArchitecture
from toolkit.spec.target import Target


def summary(plan: Plan, state: State, actual: Mapping[str, float], run: str) -> Iterator[str]:
    """Lines for the console."""
    metrics = state.metrics
    yield ""
    results = [f"{n} {v:.4f}" for n, v in metrics.items() if n.startswith("val/")]
    yield f"finished     {run} at step {state.step}: {'  '.join(results)}"
    planned = f" (planned {length_of_time(plan.seconds)})" if plan.seconds else ""
    rows = "rows" if plan.vocab_size else "images"  # of a head on a trunk's kept vectors no token is seen
    seen, unit = (
        (state.tokens, "tokens") if plan.vocab_size and state.tokens else (state.step * plan.batch_rows, rows)
    )
    yield f"time         {length_of_time(actual['seconds'])}{planned}, {seen / state.seconds:,.0f} {unit}/s in training"
    yield f"compute      {actual['flops']:.3g} FLOPs (planned {plan.flops or 0:.3g})"
    peak, expected = actual["peak_memory"] / 2**30, plan.memory.total / 2**30
    yield f"memory       {peak:.2f} GiB (planned {expected:.2f} GiB)"
    cost = estimate_cost(actual["seconds"], plan.run.rates)
    if cost:
        yield f"cost         {cost}"
    yield ""
    yield "next"
    use = {
        "causal_lm": ("tk sample", "have it write"),
        "masked_lm": ("tk fill", "have it fill in [MASK]"),
        "chat": ("tk chat", "talk to it"),
    }
    first = use.get(plan.task.kind, ("tk predict", "use it: a text, a file, a pipe") if plan.parent else None)
    commands = [
        *([(f"{first[0]} {run}", first[1])] if first else []),
        (f"tk show {run}", "plan and actual, checkpoints"),
        *([(f"tk export {run} FOLDER", "a folder that transformers opens")] if _exportable(plan) else []),
        ("tk dash", "curves; in TensorBoard: tk board"),
    ]
    width = max(len(command) for command, _ in commands)
    yield from (f"  {command:<{width}}  {does}" for command, does in commands)


def _exportable(plan: Plan) -> bool:
    """Whether `transformers` has a place for the trunk, and for a head as it stands on it."""
    arch, task = plan.architecture, plan.task
    if export_obstacle(arch) is not None:
        return False
    if not isinstance(task, Target) or task.reads_with == "words":
        return True
    if task.kind == "answer" or (
        (arch.kind, task.reads_with) in NECKS and getattr(arch, "head", None) == "linear"
    ):
        return False
    own = "last" if isinstance(arch, GPTArchitecture) else arch.pooling
    return task.reads_with != "pooled" or (getattr(task, "pool", None) or own) in POOLS[arch.kind]
