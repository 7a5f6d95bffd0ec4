"""One task over several ranks: fully sharded data parallelism (FSDP2; Zhao 2023, Rajbhandari 2020), and tensor
parallelism within it (`divided`).

Each rank keeps a part of every weight, gradient and optimizer state; a block's weights are gathered before it
computes and let go after it. Gradients are summed over the ranks once a step.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.utils.checkpoint import checkpoint

from toolkit.engine.divided import divide
from toolkit.engine.errors import StageError
from toolkit.engine.hardware import Hardware
from toolkit.engine.ranks import Ranks
from toolkit.engine.tensors import divides
from toolkit.models.task import Task
from toolkit.plan.division import degrees
from toolkit.plan.plan import Plan
from toolkit.spec.objective import WHOLE_BATCH
from toolkit.spec.run import Parallel

DIMENSIONS = ("replicate", "shard", "tensor")
"""Of the mesh, the slowest first: the ranks of one tensor group are neighbours."""
T = TypeVar("T")


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
        """Alone, whatever `run.parallel` asks. Raises PlanError if it asks for other ranks than there are, and
        StageError if some have no work.
        """
        parallel, on_gpu = plan.run.parallel, hardware.device.type == "cuda"
        if ranks.alone:
            parallel = parallel.model_copy(update={"replicate": 1, "shard": 1, "tensor": 1})
        shape = degrees(parallel, ranks.world)
        rows = _rows_at_once(plan, shape[0] * shape[1])
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

    @property
    def data(self) -> tuple[int, int]:
        """Which share of the micro-batches is this rank's: (index, number of shares)."""
        return self.ranks.rank // self.parallel.tensor, self.ranks.world // self.parallel.tensor

    @property
    def counts(self) -> bool:
        """Whether this rank is the one of its tensor group whose results count: the others have the same."""
        return self.ranks.rank % self.parallel.tensor == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all shares of the micro-batches, in float64. All ranks must call it."""
        return self.ranks.sum(values if self.counts else [0.0] * len(values))

    def collect(self, values: list[T]) -> list[T]:
        """The values of all shares of the micro-batches, one after the other. All ranks must call it."""
        return self.ranks.gather(values if self.counts else [])

    def apply(self, task: Task) -> Task:
        """This rank's part of the task, on the device; compiled and checkpointed block by block as asked."""
        if self.mesh is not None and self.parallel.tensor > 1:
            divide(task.trunk.blocks, self.mesh["tensor"])
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
        data = mesh["replicate", "shard"] if self.parallel.replicate > 1 else mesh["shard"]
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
        parts = [mesh.size(i) for i, placement in enumerate(tensor.placements) if divides(placement)]
        return self.ranks.world // math.prod(parts)


def _rows_at_once(plan: Plan, shares: int) -> int:
    """The rows of a micro-batch; where a loss compares all rows of a batch, they are divided over the ranks.

    Raises StageError where some of so many shares would have no work.
    """
    whole, tensor = plan.task.kind in WHOLE_BATCH, plan.run.parallel.tensor
    rows = -(-plan.batch_rows // shares) if whole else plan.micro_batch
    busy = -(-plan.batch_rows // rows)
    if busy < shares:
        fitting = plan.batch_rows // shares
        who = f"groups of {tensor} ranks" if tensor > 1 else "ranks"
        raise StageError(
            f"a batch of {plan.batch_rows} rows, {rows} at once, gives work to {busy} of {shares} {who}. "
            + ("Use a larger batch" if whole or not fitting else f"Lower run.micro_batch to {fitting}")
            + ", or fewer ranks."
        )
    return rows


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
    if not isinstance(tensor, DTensor):
        return tensor
    # Dimension by dimension, as it is divided: PyTorch warns where it finds that it can't do them at once.
    for done in range(1, tensor.device_mesh.ndim + 1):
        tensor = tensor.redistribute(placements=[Replicate()] * done + list(tensor.placements[done:]))
    return tensor.to_local()
