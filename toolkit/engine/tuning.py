"""How much of a task moves: what is frozen, what gets a low-rank update, and at which share of the rate."""

from collections.abc import Callable

import torch
from torch import nn

from toolkit.models.lora import add_lora
from toolkit.models.task import Task
from toolkit.spec.tune import FullTune, HeadTune, LoraTune, TopTune, Tune


def hold_still(task: Task, tune: Tune | None, seed: int) -> None:
    """Freeze what `tune` leaves as it is, and add the updates of LoRA. The head always moves."""
    trunk = task.trunk
    if tune is None or isinstance(tune, FullTune):
        return
    trunk.requires_grad_(False)
    match tune:
        case TopTune():
            for block in trunk.blocks[-tune.blocks :]:
                block.requires_grad_(True)
            if isinstance(norm := getattr(trunk, "norm", None), nn.Module):
                norm.requires_grad_(True)
        case LoraTune():
            add_lora(
                trunk,
                tune.projections,
                rank=tune.rank,
                alpha=tune.alpha,
                dropout=tune.dropout,
                seed=seed,
            )


def saved_alone(tune: Tune | None) -> bool:
    """Whether a checkpoint holds what moved alone: the rest is the parent's."""
    return isinstance(tune, HeadTune | LoraTune)


def rate_of(task: Task, tune: Tune | None) -> Callable[[str], float]:
    """The share of the learning rate of a parameter, by its name: less, block by block, below the head."""
    decay = tune.layer_decay if isinstance(tune, FullTune) else 1.0
    depth = len(task.trunk.blocks)

    def rate(name: str) -> float:
        if not name.startswith("trunk.") or decay == 1.0:
            return 1.0
        parts = name.split(".")
        if parts[1] == "blocks":
            return float(decay ** (depth - int(parts[2])))
        return 1.0 if "norm" in parts[1] else float(decay ** (depth + 1))

    return rate


def moving(task: nn.Module) -> dict[str, torch.Tensor]:
    """What moves, by name; divided over the ranks where the task is."""
    # The parameters themselves may lie there in one piece after an evaluation; those of the state never do.
    state = task.state_dict()
    return {name: state[name].detach() for name, held in task.named_parameters() if held.requires_grad}
