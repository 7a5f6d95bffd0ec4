"""One task over several ranks: fully sharded data parallelism (FSDP2; Zhao 2023, Rajbhandari 2020).

Each rank keeps a part of every weight, gradient and optimizer state; a block's weights are gathered before it
computes and let go after it. Gradients are summed over the ranks once a step.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from toolkit.engine.errors import StageError
from toolkit.engine.hardware import Hardware
from toolkit.engine.ranks import Ranks
from toolkit.models.task import Task
from toolkit.plan.plan import Plan
from toolkit.spec.objective import WHOLE_BATCH
from toolkit.spec.run import Parallel

DIMENSIONS = ("replicate", "shard")


@dataclass(frozen=True)
class Sharding:
    """How a task lies on the ranks. Alone there is no mesh, and the task stays in one piece.

    Attributes:
        rows: That a rank computes at once in training.
        together: Whether ranks have a part each of one micro-batch, whose rows the loss compares.
        gather: Type in which the weights of blocks travel; gradients travel in float32 always.
    """

    hardware: Hardware
    ranks: Ranks
    parallel: Parallel
    rows: int
    together: bool
    compiled: bool
    gather: torch.dtype
    mesh: DeviceMesh | None

    @classmethod
    def of(cls, plan: Plan, hardware: Hardware, ranks: Ranks) -> Self:
        """Raises StageError if `run.parallel` asks for other ranks than there are, or some have no work."""
        parallel, on_gpu = plan.run.parallel, hardware.device.type == "cuda"
        shape = degrees(parallel, ranks.world)
        rows = _rows_at_once(plan, ranks)
        mesh = None
        if not ranks.alone:
            mesh = init_device_mesh(hardware.device.type, shape, mesh_dim_names=DIMENSIONS)
        narrow = parallel.gather == "bfloat16" or (parallel.gather == "auto" and on_gpu)
        return cls(
            hardware,
            ranks,
            parallel,
            rows,
            together=plan.task.kind in WHOLE_BATCH and not ranks.alone,
            compiled=plan.run.compile == "on" or (plan.run.compile == "auto" and on_gpu),
            gather=hardware.dtype if narrow else torch.float32,
            mesh=mesh,
        )

    def apply(self, task: Task) -> Task:
        """This rank's part of the task, on the device; compiled and checkpointed block by block as asked."""
        blocks = list(task.compilable())
        for block in blocks:
            # The forward pass only: hooks that gather weights stay outside of what is compiled.
            if self.parallel.activation_checkpointing:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
            if self.compiled:
                block.forward = torch.compile(block.forward)
        if self.mesh is not None:
            task.peers = torch.distributed.group.WORLD if self.together else None
            self._shard(task, blocks, self.mesh)
        return task.to(self.hardware.device)

    def _shard(self, task: Task, blocks: Iterable[nn.Module], mesh: DeviceMesh) -> None:
        data = mesh if self.parallel.replicate > 1 else mesh["shard"]
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        narrow = None if self.gather == torch.float32 else self.gather
        for block in blocks:
            fully_shard(block, mesh=data, mp_policy=replace(policy, param_dtype=narrow))
        fully_shard(task, mesh=data, mp_policy=policy)
        for module in task.modules():
            if isinstance(module, FSDPModule):
                # The loss is divided by the units of the global batch already: gradients add up.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def exchange_gradients(self, task: Task, now: bool) -> None:
        """Whether the next backward pass sums gradients over the ranks, or only adds up here."""
        if isinstance(task, FSDPModule):
            task.set_requires_gradient_sync(now)

    @contextmanager
    def gathered(self, task: Task) -> Iterator[None]:
        """All weights in one piece on every rank, for a task that `observes_freely`."""
        # What is not in blocks stays in one piece from the forward pass of an evaluation on.
        blocks = [block for block in task.compilable() if isinstance(block, FSDPModule)]
        blocks = blocks if task.observes_freely else []
        for block in blocks:
            block.set_reshard_after_forward(False)
            block.unshard()
        yield
        for block in blocks:
            block.set_reshard_after_forward(True)
            block.reshard()

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """The norm over all gradients, wherever their parts lie."""
        if self.mesh is None:
            return torch.nn.utils.get_total_norm(gradients)
        groups: dict[int, list[Tensor]] = {}
        for gradient in gradients:
            groups.setdefault(self._copies(gradient), []).append(local(gradient))
        squares = 0.0
        for copies, parts in groups.items():
            norms = torch.stack(torch._foreach_norm(parts))
            squares += float(norms.double().square().sum()) / copies
        return torch.tensor(self.ranks.sum([squares])[0] ** 0.5, dtype=torch.float32)

    def _copies(self, tensor: Tensor) -> int:
        """On how many ranks each part of the tensor lies."""
        if not isinstance(tensor, DTensor):
            return self.ranks.world
        mesh = tensor.device_mesh
        parts = [mesh.size(i) for i, placement in enumerate(tensor.placements) if placement.is_shard()]
        return self.ranks.world // math.prod(parts)


def _rows_at_once(plan: Plan, ranks: Ranks) -> int:
    """The rows of a micro-batch; where a loss compares all rows of a batch, they are divided over the ranks.

    Raises StageError where some ranks would have no work.
    """
    shares = ranks.data[1]
    whole = plan.task.kind in WHOLE_BATCH
    rows = -(-plan.batch_rows // shares) if whole else plan.micro_batch
    busy = -(-plan.batch_rows // rows)
    if busy < shares:
        raise StageError(
            f"a batch of {plan.batch_rows} rows, {rows} at once, gives work to {busy} of {shares} ranks. "
            + ("Use a larger batch" if whole else "Lower run.micro_batch")
            + ", or fewer ranks."
        )
    return rows


def degrees(parallel: Parallel, world: int) -> tuple[int, int]:
    """(replicate, shard) for `world` ranks. Raises StageError if they don't multiply to it."""
    rest, over = divmod(world, parallel.replicate)
    shard = parallel.shard or rest
    if over or shard != rest:
        raise StageError(
            f"run.parallel asks for replicate {parallel.replicate} x shard {parallel.shard or 'the rest'}, "
            f"which {world} rank{'s' if world > 1 else ''} can't be divided into."
        )
    return parallel.replicate, shard


def clip(gradients: Sequence[Tensor], limit: float, norm: Tensor) -> None:
    """Scale the gradients, whose norm is `norm`, to a norm of at most `limit`."""
    if gradients:
        factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
        torch._foreach_mul_([local(gradient) for gradient in gradients], factor.to(gradients[0].device))


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor put together from all ranks, which must all call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
