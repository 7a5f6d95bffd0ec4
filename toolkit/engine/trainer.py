"""A task, its weights and its optimizers: one training step, one evaluation, and the state of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.engine.hardware import Hardware, seed_micro_batch
from toolkit.engine.optimizers import build_optimizers
from toolkit.engine.parallel import Sharding, clip, whole
from toolkit.engine.ranks import ALONE, Ranks
from toolkit.engine.schedules import factor
from toolkit.objectives.registry import build_task
from toolkit.objectives.task import Batch, Task
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

    def __init__(self, plan: Plan, hardware: Hardware, *, steps: int, ranks: Ranks = ALONE) -> None:
        self.plan = plan
        self.ranks = ranks
        self.hardware = hardware
        self.steps = steps
        task = build_task(plan.objective, plan.architecture)
        task.initialise(plan.seed)
        self.sharding = Sharding.of(plan, hardware, ranks)
        self.task = self.sharding.apply(task)
        self.task.compute_in(hardware.dtype)
        self.optimizers = build_optimizers(
            self.task,
            plan.train.optimizer,
            fused=hardware.device.type != "mps",
            sharded=not ranks.alone,
        )
        self.parameters = [p for p in self.task.parameters() if p.requires_grad]
        self.flops_per_row = self.task.forward_flops(plan.sequence_length)
        self.peak_flops = hardware.peak_flops()

    def step(self, step: int, micro_batches: Sequence[Any]) -> StepResult:
        """Train on one global batch, of which `micro_batches` are this rank's: of the n micro-batches those
        numbered index, index + shares, … where (index, shares) = `ranks.data`.

        Raises NonFinite, on all ranks, before the weights change.
        """
        batches = [self.batch(rows) for rows in micro_batches]
        units = int(self.ranks.sum_data([sum(self.task.weight(batch) for batch in batches)])[0])
        index, shares = self.ranks.data
        rounds = -(-self.plan.micro_batches // shares)
        total = torch.zeros((), device=self.hardware.device)
        metrics: dict[str, Tensor] = {}
        self.task.train()
        for turn in range(rounds):
            # Every rank takes part in every exchange: one with nothing left to do repeats, for nothing.
            counts = turn < len(batches)
            batch = batches[turn if counts else -1]
            seed_micro_batch(self.plan.seed, step, index + turn * shares)
            self.sharding.exchange_gradients(self.task, turn == rounds - 1)
            loss = self.task(batch)
            (loss.total / max(units, 1) if counts else 0 * loss.total).backward()
            if not counts:
                continue
            total += loss.total.detach()
            for name, value in loss.metrics.items():
                metrics[name] = metrics.get(name, 0) + value.detach()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = self.sharding.norm(grads)
        sums = self._sums({"loss": total, **metrics})
        mean, grad_norm = sums.pop("loss") / max(units, 1), float(norm)
        if not (np.isfinite(mean) and np.isfinite(grad_norm)):
            self.optimizers.zero_grad()
            raise NonFinite(f"step {step}: loss {mean}, gradient norm {grad_norm}")
        if self.plan.train.clip is not None:
            clip(grads, self.plan.train.clip, norm)
        self.optimizers.set_factor(factor(self.plan.train.schedule, step, self.steps))
        self.optimizers.step()
        self.optimizers.zero_grad()
        return StepResult(
            mean,
            grad_norm,
            self.optimizers.lr,
            units,
            {name: value / max(units, 1) for name, value in sums.items()},
        )

    @torch.inference_mode()
    def evaluate(self, micro_batches: Iterable[tuple[int | None, Any]]) -> dict[str, float]:
        """Means over the units of all batches of all ranks: `loss` in nats, and the task's metrics. Draws the
        same random numbers each time.

        Args:
            micro_batches: This rank's, with their numbers; None for one that only keeps the others company.
        """
        self.task.eval()
        units, sums = 0, {"loss": 0.0}
        for micro, rows in micro_batches:
            batch = self.batch(rows)
            seed_micro_batch(self.plan.seed, -1, micro or 0)
            loss = self.task(batch)
            if micro is None:
                continue
            units += self.task.weight(batch)
            sums["loss"] += float(loss.total)
            for name, value in loss.metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        everywhere, *totals = self.ranks.sum_data([units, *sums.values()])
        return {name: value / max(everywhere, 1) for name, value in zip(sums, totals, strict=True)}

    def _sums(self, own: dict[str, Tensor]) -> dict[str, float]:
        return dict(zip(own, self.ranks.sum_data([float(value) for value in own.values()]), strict=True))

    def batch(self, rows: Any) -> Batch:
        """The arrays of a dataclass of the data floor as tensors on the device."""
        device = self.hardware.device
        tensors = {f.name: torch.from_numpy(getattr(rows, f.name)) for f in fields(rows)}
        if device.type == "cuda":
            return {name: t.pin_memory().to(device, non_blocking=True) for name, t in tensors.items()}
        return {name: t.to(device) for name, t in tensors.items()}

    def whole_task(self) -> Task | None:
        """The task in one piece, to use outside of training: on the first rank, where it is put together anew
        if it is divided; None on the others. All ranks must call it.
        """
        if self.ranks.alone:
            return self.task
        weights = {name: whole(tensor).cpu() for name, tensor in self.weights().items()}
        if not self.ranks.first:
            return None
        task = build_task(self.plan.objective, self.plan.architecture)
        task.load_state_dict(weights)
        task.compute_in(self.hardware.dtype)
        return task.to(self.hardware.device)

    def weights(self) -> dict[str, Tensor]:
        """Every weight by name, as the modules hold them."""
        return {name: tensor.detach() for name, tensor in self.task.state_dict().items()}

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        """Take over weights and the optimizers' state, this rank's parts of them where it has but parts.

        Raises RuntimeError or KeyError if they don't fit.
        """
        self.task.load_state_dict(weights)
        device = self.hardware.device
        # A step count stays on the CPU unless the optimizer is fused on the device.
        self.optimizers.load(
            {name: t.to(device) if t.ndim or device.type == "cuda" else t for name, t in optimizer.items()}
        )
