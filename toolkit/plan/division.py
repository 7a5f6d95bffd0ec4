"""Whether a model's blocks can be divided as `run.parallel.tensor` asks."""

from math import gcd

from toolkit.plan.errors import PlanError
from toolkit.spec.architecture import BlockArchitecture
from toolkit.spec.errors import listing
from toolkit.spec.objective import WHOLE_BATCH
from toolkit.spec.tune import LoraTune, Tune


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
