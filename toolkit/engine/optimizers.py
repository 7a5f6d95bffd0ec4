"""Optimizers over one task: which parameter is updated how, and their state as named tensors."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer as TorchOptimizer

from toolkit.engine.muon import ShardedMuon
from toolkit.models.linear import Linear
from toolkit.models.task import Task
from toolkit.models.trunk import Trunk
from toolkit.spec.train import AdamW, Muon, Optimizer


@dataclass(frozen=True)
class Optimizers:
    """One or two torch optimizers that together hold every parameter of a task exactly once."""

    parts: dict[str, TorchOptimizer]
    names: dict[nn.Parameter, str]

    def set_factor(self, factor: float) -> None:
        """Set every learning rate to `factor` times its highest."""
        for optimizer in self.parts.values():
            for group in optimizer.param_groups:
                group["lr"] = group["highest_lr"] * factor

    @property
    def lr(self) -> float:
        """The learning rate of the hidden matrices, the one to watch."""
        return float(next(iter(self.parts.values())).param_groups[0]["lr"])

    def step(self) -> None:
        for optimizer in self.parts.values():
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.parts.values():
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the state, named `PARAMETER/KEY`."""
        for optimizer in self.parts.values():
            for parameter, entries in optimizer.state.items():
                for key, value in entries.items():
                    yield f"{self.names[parameter]}/{key}", value  # type: ignore[index]

    def blank(self, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Zeros for a state of these names and shapes, divided over ranks as its parameters are.

        Raises KeyError for a parameter that isn't here.
        """
        parameters = {name: parameter for parameter, name in self.names.items()}
        tensors: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            parameter = parameters[name.rsplit("/", 1)[0]]
            tensors[name] = torch.zeros_like(parameter) if shape == parameter.shape else torch.zeros(shape)
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over a state. Raises KeyError for a parameter that isn't here."""
        parameters = {name: parameter for parameter, name in self.names.items()}
        owners = {
            parameter: optimizer
            for optimizer in self.parts.values()
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for name, tensor in tensors.items():
            parameter_name, key = name.rsplit("/", 1)
            parameter = parameters[parameter_name]
            owners[parameter].state[parameter][key] = tensor


def build_optimizers(
    task: Task,
    spec: Optimizer,
    *,
    rate: Callable[[str], float] = lambda name: 1.0,
    fused: bool = True,
    sharded: bool = False,
) -> Optimizers:
    """The optimizers of an `optimizer` section. Every trainable parameter lands in exactly one group.

    `rate` tells the share of the learning rate that a parameter gets, by its name.
    """
    names = {p: name for name, p in task.named_parameters() if p.requires_grad}
    parts: dict[str, TorchOptimizer]
    match spec:
        case AdamW():
            matrices = [p for p in names if p.ndim >= 2]
            vectors = [p for p in names if p.ndim < 2]
            groups = [
                *_groups(matrices, names, rate, spec.lr, weight_decay=spec.weight_decay),
                *_groups(vectors, names, rate, spec.lr),
            ]
            parts = {"adamw": _adamw(groups, spec.betas, spec.eps, fused)}
        case Muon():
            head = {p for p in task.head_parameters() if p in names}
            hidden = _hidden_matrices(task.trunk)
            matrices = [p for p in names if p in hidden and p not in head]
            vectors = [p for p in names if p.ndim < 2]
            taken = {*matrices, *vectors, *head}
            rest = [p for p in names if p not in taken]
            groups = [
                *_groups(rest, names, rate, spec.embedding_lr),
                *_groups([p for p in names if p in head], names, rate, spec.head_lr),
                *_groups(vectors, names, rate, spec.scalar_lr),
            ]
            parts = {"adamw": _adamw(groups, spec.betas, spec.eps, fused)}
            if matrices:
                muon = (ShardedMuon if sharded else torch.optim.Muon)(
                    _groups(matrices, names, rate, spec.lr),
                    lr=spec.lr,
                    weight_decay=spec.weight_decay,
                    momentum=spec.momentum,
                    ns_steps=spec.ns_steps,
                )
                parts = {"muon": muon, **parts}
    _assert_covered(parts, names)
    return Optimizers(parts, names)


def _hidden_matrices(trunk: Trunk) -> set[nn.Parameter]:
    """Weights of the linear layers of the blocks: what Muon is made for. Embeddings are not among them."""
    return {m.weight for m in trunk.blocks.modules() if isinstance(m, Linear)}


def _groups(
    parameters: list[nn.Parameter],
    names: dict[nn.Parameter, str],
    rate: Callable[[str], float],
    lr: float,
    weight_decay: float | None = 0.0,
) -> list[dict[str, Any]]:
    """One group for each share of the rate, the highest first; and for each mesh, since a kernel takes tensors of
    one mesh at a time.
    """
    groups: dict[tuple[float, DeviceMesh | None], list[nn.Parameter]] = {}
    for parameter in parameters:
        mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
        groups.setdefault((rate(names[parameter]), mesh), []).append(parameter)
    return [
        {"params": members, "lr": lr * share, "highest_lr": lr * share, "weight_decay": weight_decay}
        for (share, _), members in sorted(groups.items(), key=lambda item: -item[0][0])
    ]


def _adamw(
    groups: list[dict[str, Any]], betas: tuple[float, float], eps: float, fused: bool
) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=fused)


def _assert_covered(parts: dict[str, TorchOptimizer], names: dict[nn.Parameter, str]) -> None:
    held = Counter(names[p] for o in parts.values() for group in o.param_groups for p in group["params"])
    missing = sorted(set(names.values()) - set(held))
    twice = sorted(name for name, count in held.items() if count > 1)
    if missing or twice:
        raise AssertionError(f"parameters without an optimizer: {missing}; with two: {twice}")
