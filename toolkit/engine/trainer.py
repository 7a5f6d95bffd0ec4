"""A task, its weights and its optimizers: one training step, one evaluation, and the state of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.engine.hardware import Hardware, seed_micro_batch
from toolkit.engine.optimizers import build_optimizers
from toolkit.engine.schedules import factor
from toolkit.objectives.registry import build_task
from toolkit.objectives.task import Batch
from toolkit.plan.plan import Plan


class NonFinite(Exception):  # noqa: N818 - names the finding
    """The loss or the gradient is not a number; the optimizer has not seen it."""


@dataclass(frozen=True)
class StepResult:
    """What a training step tells."""

    loss: float
    grad_norm: float
    lr: float
    units: int
    """Units of loss in the global batch: predicted tokens, images, …"""
    metrics: dict[str, float]


class Trainer:
    """Carries out steps of a plan. It knows nothing of runs, files or the terminal."""

    def __init__(self, plan: Plan, hardware: Hardware, *, steps: int) -> None:
        self.plan = plan
        self.hardware = hardware
        self.steps = steps
        task = build_task(plan.objective, plan.architecture)
        task.initialise(plan.seed)
        self.task = task.to(hardware.device)
        self.task.compute_in(hardware.dtype)
        self.optimizers = build_optimizers(
            self.task, plan.train.optimizer, fused=hardware.device.type != "mps"
        )
        self.parameters = [p for p in self.task.parameters() if p.requires_grad]
        self.flops_per_row = self.task.forward_flops(plan.sequence_length)
        self.peak_flops = hardware.peak_flops()
        if plan.run.compile == "on" or (plan.run.compile == "auto" and hardware.device.type == "cuda"):
            for block in self.task.compilable():
                block.compile()

    def step(self, step: int, micro_batches: Sequence[Any]) -> StepResult:
        """Train on one global batch. Raises NonFinite before the weights change."""
        batches = [self.batch(rows) for rows in micro_batches]
        units = sum(self.task.weight(batch) for batch in batches)
        total = torch.zeros((), device=self.hardware.device)
        metrics: dict[str, Tensor] = {}
        self.task.train()
        for micro, batch in enumerate(batches):
            seed_micro_batch(self.plan.seed, step, micro)
            loss = self.task(batch)
            (loss.total / max(units, 1)).backward()
            total += loss.total.detach()
            for name, value in loss.metrics.items():
                metrics[name] = metrics.get(name, 0) + value.detach()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        mean, grad_norm = float(total) / max(units, 1), float(norm)
        if not (np.isfinite(mean) and np.isfinite(grad_norm)):
            self.optimizers.zero_grad()
            raise NonFinite(f"step {step}: loss {mean}, gradient norm {grad_norm}")
        if self.plan.train.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.plan.train.clip, norm)
        self.optimizers.set_factor(factor(self.plan.train.schedule, step, self.steps))
        self.optimizers.step()
        self.optimizers.zero_grad()
        return StepResult(
            mean,
            grad_norm,
            self.optimizers.lr,
            units,
            {name: float(value) / max(units, 1) for name, value in metrics.items()},
        )

    @torch.inference_mode()
    def evaluate(self, micro_batches: Iterable[Any]) -> dict[str, float]:
        """Means over the units of all batches: `loss` in nats, and the task's metrics. Draws the same random
        numbers each time.
        """
        self.task.eval()
        units, sums = 0, {"loss": 0.0}
        for micro, rows in enumerate(micro_batches):
            batch = self.batch(rows)
            seed_micro_batch(self.plan.seed, -1, micro)
            loss = self.task(batch)
            units += self.task.weight(batch)
            sums["loss"] += float(loss.total)
            for name, value in loss.metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return {name: value / max(units, 1) for name, value in sums.items()}

    def batch(self, rows: Any) -> Batch:
        """The arrays of a dataclass of the data floor as tensors on the device."""
        device = self.hardware.device
        tensors = {f.name: torch.from_numpy(getattr(rows, f.name)) for f in fields(rows)}
        if device.type == "cuda":
            return {name: t.pin_memory().to(device, non_blocking=True) for name, t in tensors.items()}
        return {name: t.to(device) for name, t in tensors.items()}

    def weights(self) -> dict[str, Tensor]:
        """Every weight by name, as the modules hold them."""
        return {name: tensor.detach() for name, tensor in self.task.state_dict().items()}

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        """Take over weights and the optimizers' state. Raises RuntimeError or KeyError if they don't fit."""
        self.task.load_state_dict(weights)
        device = self.hardware.device
        # A step count stays on the CPU unless the optimizer is fused on the device.
        self.optimizers.load(
            {name: t.to(device) if t.ndim or device.type == "cuda" else t for name, t in optimizer.items()}
        )
