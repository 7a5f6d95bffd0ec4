"""The weights of a checkpoint, whole: what it holds, on top of what it left with its parent."""

from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from toolkit.engine.checkpointing import PLAN
from toolkit.engine.tensors import WEIGHTS, read_tensors
from toolkit.engine.tuning import saved_alone
from toolkit.models.lora import merge_lora
from toolkit.plan.plan import Plan
from toolkit.spec.tune import LoraTune
from toolkit.store.errors import BadFile, UnknownCheckpoint
from toolkit.store.lineage import locate
from toolkit.store.manifest import Checkpoint, verify_files


def read_checkpoint_plan(checkpoint: Checkpoint) -> Plan:
    """The plan that a checkpoint was made by. Raises BadFile."""
    path = checkpoint.path / PLAN
    try:
        return Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BadFile(path, "is not a plan that this version of tk reads") from error


def read_own_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What the checkpoint itself holds. Raises CorruptCheckpoint."""
    return read_tensors(checkpoint.path, WEIGHTS)


def read_weights(checkpoint: Checkpoint, *, verify: bool = True) -> dict[str, Tensor]:
    """Every weight of a checkpoint by its name in its task, low-rank updates merged.

    Raises CorruptCheckpoint, BadFile, and UnknownCheckpoint where a parent that it builds on is gone.
    """
    if verify:
        verify_files(checkpoint)
    plan, own = read_checkpoint_plan(checkpoint), read_own_weights(checkpoint)
    if plan.parent is None or not saved_alone(plan.tune):
        return own
    base = read_weights(find_base(plan, runs_folder(checkpoint)), verify=verify)
    whole = {**{name: tensor for name, tensor in base.items() if name.startswith(("trunk.", "head."))}, **own}
    if isinstance(plan.tune, LoraTune):
        whole = merge_lora(whole, plan.tune.alpha / plan.tune.rank)
    return whole


def find_base(plan: Plan, root: Path) -> Checkpoint:
    """The checkpoint that a plan's parent names. Raises UnknownCheckpoint, naming it, where it is gone."""
    assert plan.parent is not None
    identity = plan.parent.checkpoint or ""
    found = locate(root, identity, first=plan.parent.run)
    if found is None:
        raise UnknownCheckpoint(
            f"{plan.name}/{plan.stage} starts from {plan.parent}, which is not in {root}. Copy that run's folder there."
        )
    return found


def runs_folder(checkpoint: Checkpoint) -> Path:
    """The runs folder that a checkpoint lies in: runs/NAME/STAGE/checkpoints/step-…"""
    return checkpoint.path.parents[3]
