"""Tensor parallelism (Shoeybi 2019): the ranks of a group compute each block together.

Queries, keys, values and the first matrices of a feed-forward are divided by their outputs, the matrices behind them
by their inputs: a rank computes some of the heads and of the hidden values. What they begin with is copied to
all, what they end with is added up; between them each rank of the group holds the same, and computes it for itself.
`torch.distributed.tensor.parallel` does this for `nn.Linear` alone, whose weights have the type of their input.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from toolkit.models.blocks import Attention, FeedForward
from toolkit.models.linear import Linear, linear
from toolkit.models.norms import RMSNorm, rms_norm


def divide(blocks: Iterable[nn.Module], mesh: DeviceMesh) -> None:
    """Leave each rank of the mesh, which has one dimension, its part of the blocks' matrices.

    `plan.division` has made sure that they can be divided. The matrices become DTensors.
    """
    group, share = mesh.get_group(), (mesh.get_local_rank(), mesh.size())
    for module in [module for block in blocks for module in block.modules()]:
        match module:
            case Attention():
                first, last = [module.q, module.k, module.v], module.out
                module.share = share
                for norm in (module.q_norm, module.k_norm):
                    if norm is not None:
                        _compute_by(norm, _norm_of_some_heads, norm, group)
            case FeedForward():
                first = [module.up] if module.gate is None else [module.up, module.gate]
                last = module.down
            case _:
                continue
        for matrix in first:
            _keep_part(matrix, "weight", 0, mesh)
            _keep_part(matrix, "bias", 0, mesh)
            _compute_by(matrix, _some_outputs, matrix)
        _keep_part(last, "weight", 1, mesh)
        _compute_by(last, _some_inputs, last, group)
        _compute_by(module, _copied_to_all, module.forward, group)


def _keep_part(module: nn.Module, name: str, dimension: int, mesh: DeviceMesh) -> None:
    parameter = getattr(module, name)
    if parameter is not None:
        # All ranks have filled the whole alike: nobody has to send anything.
        part = distribute_tensor(parameter.detach(), mesh, [Shard(dimension)], src_data_rank=None)
        setattr(module, name, nn.Parameter(part, requires_grad=parameter.requires_grad))


def _compute_by(module: nn.Module, forward: Callable[..., Tensor], *bound: Any) -> None:
    module.forward = partial(forward, *bound)


def _copied_to_all(forward: Any, group: ProcessGroup, x: Tensor, *rest: Any, **options: Any) -> Tensor:
    result: Tensor = forward(_copy(x, group), *rest, **options)
    return result


def _some_outputs(module: Linear, x: Tensor) -> Tensor:
    return linear(x, _own(module.weight), None if module.bias is None else _own(module.bias))


def _some_inputs(module: Linear, group: ProcessGroup, x: Tensor) -> Tensor:
    y: Tensor = _AddUp.apply(linear(x, _own(module.weight), None), group)  # type: ignore[no-untyped-call]
    return y if module.bias is None else y + module.bias.to(y.dtype)


def _norm_of_some_heads(norm: RMSNorm, group: ProcessGroup, x: Tensor) -> Tensor:
    """The gain is that of all heads, of which each rank's gradient knows some."""
    return rms_norm(x, _copy(norm.weight, group), norm.eps)


def _own(parameter: Tensor) -> Tensor:
    assert isinstance(parameter, DTensor), "divided, and gathered from the other shares"
    return parameter.to_local()


def _copy(x: Tensor, group: ProcessGroup) -> Tensor:
    copy: Tensor = _Copy.apply(x, group)  # type: ignore[no-untyped-call]
    return copy


class _Copy(Function):
    """The same forth; back, the sum of what each rank's part of the work adds to the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _summed(gradient, ctx.group), None


class _AddUp(Function):
    """The sum of all ranks' parts forth; the same back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        return _summed(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _summed(x: Tensor, group: ProcessGroup) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total
