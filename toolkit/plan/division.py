"""How ranks are divided as `run.parallel` asks, and whether a model's blocks can be."""

from math import gcd

from toolkit.plan.errors import PlanError
from toolkit.spec.architecture import BlockArchitecture
from toolkit.spec.errors import listing
from toolkit.spec.objective import WHOLE_BATCH
from toolkit.spec.run import Parallel
from toolkit.spec.tune import LoraTune, Tune


def degrees(parallel: Parallel, world: int) -> tuple[int, int, int]:
    """(replicate, shard, tensor) for `world` ranks. Raises PlanError if they don't multiply to it."""
    rest, over = divmod(world, parallel.replicate * parallel.tensor)
    shard = parallel.shard or rest
    if over or shard != rest:
        tensor = f" x tensor {parallel.tensor}" if parallel.tensor > 1 else ""
        least = parallel.replicate * parallel.tensor * (parallel.shard or 1)
        start = f"Start {least}" if parallel.shard else f"Start a multiple of {least}"
        raise PlanError(
            f"run.parallel asks for replicate {parallel.replicate} x shard {parallel.shard or 'the rest'}{tensor}, "
            f"which {world} rank{'s' if world > 1 else ''} can't be divided into. {start} with --nproc, or change "
            "run.parallel."
        )
    return parallel.replicate, shard, parallel.tensor


def check_division(arch: BlockArchitecture, tensor: int, task: str, tune: Tune | None) -> None:
    """Raises PlanError where blocks of `arch`, trained for the task of that kind, can't lie on `tensor` ranks."""
    if tensor == 1:
        return
    where = f"run.parallel.tensor: {tensor}"
    way_out = "Leave it out: run.parallel.shard divides the weights too."
    if isinstance(tune, LoraTune):
        raise PlanError(f'{where} does not go with tune = {{ kind = "lora" }}. {way_out}')
    if task in WHOLE_BATCH:
        raise PlanError(f'{where} does not go with "{task}", which compares the rows of all ranks. {way_out}')
    parts = {"n_heads": arch.n_heads, "d_ff": arch.d_ff}
    if arch.n_kv_heads != arch.n_heads:
        parts["n_kv_heads"] = arch.n_kv_heads
    wrong = [f"{name} = {size}" for name, size in parts.items() if size % tensor]
    if wrong:
        common = gcd(*parts.values())
        fitting = [str(n) for n in range(2, common + 1) if common % n == 0]
        choice = f"Write {listing(fitting)}, or leave it out" if fitting else "Leave it out"
        raise PlanError(f"{where} does not divide {listing(wrong, 'and')}, which lie on its ranks. {choice}.")
