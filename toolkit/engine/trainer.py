"""A task, its weights and its optimizers: one training step, one evaluation, and the state of both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor

from toolkit.data.dataset import Arrays, arrays
from toolkit.data.rows import Rows
from toolkit.engine.hardware import Hardware, seed_micro_batch
from toolkit.engine.optimizers import build_optimizers
from toolkit.engine.parallel import Sharding, clip, whole
from toolkit.engine.ranks import ALONE, Ranks
from toolkit.engine.recovery import NonFinite, Spike
from toolkit.engine.schedules import factor
from toolkit.engine.sums import Sums
from toolkit.engine.tasks import build_task
from toolkit.engine.tuning import hold_still, moving, rate_of, saved_alone
from toolkit.models.neck import Neck
from toolkit.models.task import Batch, Report, Task, Vocabulary
from toolkit.plan.flops import training_factor
from toolkit.plan.plan import Plan


@dataclass(frozen=True)
class StepResult:
    """What a training step tells."""

    loss: float
    grad_norm: float
    lr: float
    units: int
    """Units of loss in the global batch: predicted tokens, images, …"""
    metrics: dict[str, float]
    positions: int
    """Real positions of the global batch: tokens, patches."""
    slots: int
    """Positions computed, padding included."""
    flops: float
    """Of the step, counted from the modules as built."""


class Trainer:
    """Carries out steps of a plan. It knows nothing of runs, files or the terminal."""

    def __init__(
        self,
        plan: Plan,
        hardware: Hardware,
        *,
        steps: int,
        tokenizer: Vocabulary | None = None,
        parent: Mapping[str, Tensor] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Build the task, from random weights or on those of a parent. Raises RuntimeError if they don't fit."""
        self.plan = plan
        self.ranks = ranks
        self.hardware = hardware
        self._tokenizer = tokenizer
        self.steps = steps
        task = build_task(plan, tokenizer)
        task.initialise(plan.seed)
        if parent is not None:
            start_from(task, parent)
        hold_still(task, plan.tune, plan.seed)
        self.sharding = Sharding.of(plan, hardware, ranks)
        self.task = self.sharding.apply(task)
        self.task.compute_in(hardware.dtype)
        self.optimizers = build_optimizers(
            self.task,
            plan.train.optimizer,
            rate=rate_of(self.task, plan.tune),
            fused=hardware.device.type != "mps",
            sharded=not ranks.alone,
        )
        self.parameters = [p for p in self.task.parameters() if p.requires_grad]
        self.factor = training_factor(plan.tune, len(self.task.trunk.blocks))
        self.peak_flops = hardware.peak_flops() * ranks.world
        self._forward_flops: dict[int, float] = {}

    def step(
        self,
        step: int,
        micro_batches: Sequence[Rows | Arrays],
        *,
        skipped: int = 0,
        judge: Callable[[float, float], str | None] = lambda loss, grad_norm: None,
    ) -> StepResult:
        """Train on one global batch, of which `micro_batches` are this rank's: of the n micro-batches those
        numbered index, index + shares, … where (index, shares) = `sharding.data`.

        Args:
            skipped: Batches passed over so far: the batch is that of number step + skipped.
            judge: What stands out in the loss and the norm of the gradient, if anything does.

        Raises NonFinite or Spike, on all ranks, before the weights change.
        """
        batches = [self.batch(rows) for rows in micro_batches]
        units, positions, slots, flops = self._sizes(batches)
        sums = Sums(torch.zeros((), device=self.hardware.device))
        index, shares = self.sharding.data
        rounds = -(-self.plan.micro_batches // shares)
        self.task.train()
        for turn in range(rounds):
            # Every rank takes part in every exchange: one with nothing left to do repeats, for nothing.
            counts = turn < len(batches)
            batch = batches[turn if counts else -1]
            micro = 0 if self.sharding.together else index + turn * shares
            seed_micro_batch(self.plan.seed, step + skipped, micro)
            self.sharding.exchange_gradients(self.task, turn == rounds - 1)
            loss = self.task(batch)
            (loss.total / max(units, 1) if counts else 0 * loss.total).backward()
            if counts:
                sums.add(loss)
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = self.sharding.norm(grads)
        sums = sums.over(self.sharding)
        mean, grad_norm = float(sums.total) / max(units, 1), float(norm)
        finite = bool(np.isfinite(mean) and np.isfinite(grad_norm))
        found = judge(mean, grad_norm) if finite else None
        if not finite or found:
            self.optimizers.zero_grad()
            if found:
                raise Spike(f"step {step}: {found}")
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
            sums.means(units),
            positions,
            slots,
            flops,
        )

    def _sizes(self, batches: Sequence[Batch]) -> tuple[int, int, int, float]:
        """Units, positions, slots and FLOPs of the global batch."""
        own = [
            float(sum(self.task.weight(batch) for batch in batches)),
            float(sum(self._positions(batch) for batch in batches)),
            float(sum(self._slots(batch) for batch in batches)),
            sum(self.factor * self.forward_flops(batch) for batch in batches),
        ]
        units, positions, slots, flops = self.sharding.sum(own)
        return int(units), int(positions), int(slots), flops

    @torch.no_grad()  # and no inference mode: weights gathered first in it could not be gathered for training
    def evaluate(
        self, micro_batches: Iterable[tuple[int | None, Rows | Arrays]], *, last: bool = True
    ) -> tuple[dict[str, float], Report]:
        """Means over the units of all batches of all ranks (`loss` in nats, and the task's metrics), and what the
        task reports.

        Draws the same random numbers each time. The `last` evaluation of a run shows the task more rows.

        Args:
            micro_batches: This rank's, with their numbers; None for one that only keeps the others company.
        """
        self.task.eval()
        limit = self.task.observed_at_last if last else self.task.observed_rows
        units, rows = 0, 0
        sums = Sums(torch.zeros((), device=self.hardware.device))
        observed = []
        for micro, group in micro_batches:
            batch = self.batch(group)
            seed_micro_batch(self.plan.seed, -1, micro or 0)
            loss = self.task(batch)
            # Observing may take the other ranks' parts of the weights, so all do it in the same rounds.
            with self.sharding.gathered(self.task):
                seen = self.task.observe(batch) if limit is None or rows < limit else None
            rows += _rows(batch) * self.sharding.data[1]
            if micro is None:
                continue
            sums.add(loss)
            units += self.task.weight(batch)
            observed += [] if seen is None else [(micro, seen)]
        sums, units = sums.over(self.sharding), int(self.sharding.sum([float(units)])[0])
        observed = [seen for _, seen in sorted(self.sharding.collect(observed), key=itemgetter(0))]
        means = {"loss": float(sums.total) / max(units, 1), **sums.means(units)}
        report = self.task.report(observed) if observed else Report()
        return {**means, **report.metrics, **self.task.derived(means)}, report

    def batch(self, rows: Rows | Arrays) -> Batch:
        """The arrays of the data floor as tensors on the device."""
        device = self.hardware.device
        tensors = {name: torch.from_numpy(array) for name, array in arrays(rows).items()}
        if device.type == "cuda":
            return {name: t.pin_memory().to(device, non_blocking=True) for name, t in tensors.items()}
        return {name: t.to(device) for name, t in tensors.items()}

    def forward_flops(self, batch: Batch) -> float:
        """Operations of a forward pass over a micro-batch, padding included."""
        length = self._slots(batch) // max(_rows(batch), 1)
        if length not in self._forward_flops:
            self._forward_flops[length] = self.task.forward_flops(length)
        return self._forward_flops[length] * _rows(batch)

    def _slots(self, batch: Batch) -> int:
        inputs = batch.get("inputs")
        if inputs is None:
            return 0  # features, for which the trunk has done its work
        return inputs.numel() if inputs.ndim == 2 else len(inputs) * self.plan.sequence_length

    def _positions(self, batch: Batch) -> int:
        return int(batch["lengths"].sum()) if "lengths" in batch else self._slots(batch)

    def whole_task(self) -> Task | None:
        """The task in one piece, to use outside of training: on the first rank, where it is put together anew
        if it is divided; None on the others. All ranks must call it.
        """
        if self.ranks.alone:
            return self.task
        state = {name: whole(tensor).cpu() for name, tensor in self.task.state_dict().items()}
        if not self.ranks.first:
            return None
        task = build_task(self.plan, self._tokenizer)
        hold_still(task, self.plan.tune, self.plan.seed)
        task.load_state_dict(state)
        task.compute_in(self.hardware.dtype)
        return task.to(self.hardware.device)

    def weights(self) -> dict[str, Tensor]:
        """Every weight by name, as the modules hold them; what moves alone where the rest is the parent's."""
        if saved_alone(self.plan.tune):
            return moving(self.task)
        return {name: tensor.detach() for name, tensor in self.task.state_dict().items()}

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        """Take over weights and the optimizers' state. Raises RuntimeError or KeyError if they don't fit."""
        self.task.load_state_dict(weights, strict=not saved_alone(self.plan.tune))
        device = self.hardware.device
        # A step count stays on the CPU unless the optimizer is fused on the device.
        self.optimizers.load(
            {name: t.to(device) if t.ndim or device.type == "cuda" else t for name, t in optimizer.items()}
        )


def start_from(task: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Take over a parent's trunk, and what stands on it where the task has the same.

    Raises RuntimeError where the trunks differ.
    """
    own = task.state_dict()
    taken = {n: t for n, t in weights.items() if n in own and n.startswith(("trunk.", "head."))}
    neck = getattr(task, "neck", None)
    if isinstance(neck, Neck):
        for prefix in reversed(neck.starts_from):
            taken |= {f"neck.{n}": weights[prefix + n] for n in neck.state_dict() if prefix + n in weights}
    missing = sorted(name for name in own if name.startswith("trunk.") and name not in taken)
    if missing:
        raise RuntimeError(f"the parent has no {missing[0]}")
    task.load_state_dict(taken, strict=False)


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))
