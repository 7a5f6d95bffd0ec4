"""Muon (Jordan 2024) on sharded matrices: each is orthogonalised whole, and by one rank only.

The momentum is kept in parts, as the weights are. A round takes as many matrices as there are ranks: an
all-to-all brings every rank all parts of one matrix, and another takes the parts of its update back.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Replicate
from torch.optim import Muon
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz

from toolkit.engine.parallel import local, whole


class ShardedMuon(Muon):
    """`torch.optim.Muon` for DTensors. A step gives what it gives on one rank with the same gradients."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            buffers: list[Tensor] = []
            self._init_group(group, parameters, gradients, buffers)
            updates = []
            for gradient, buffer in zip(gradients, buffers, strict=True):
                grad, momentum = local(gradient), local(buffer)
                momentum.lerp_(grad, 1 - group["momentum"])
                updates.append(grad.lerp(momentum, group["momentum"]))

            def orthogonal(matrix: Tensor, group: dict[str, Any] = group) -> Tensor:
                return _zeropower_via_newtonschulz(
                    matrix, group["ns_coefficients"], group["ns_steps"], group["eps"]
                )

            for parameter, update in zip(parameters, _exchange(parameters, updates, orthogonal), strict=True):
                part = local(parameter)
                part.mul_(1 - group["lr"] * group["weight_decay"])
                part.add_(update, alpha=-_adjust_lr(group["lr"], group["adjust_lr_fn"], parameter.shape))


def _exchange(parameters: list[Tensor], updates: list[Tensor], orthogonal: Any) -> list[Tensor]:
    """The parts of the orthogonalised updates, in the order given."""
    done: dict[int, Tensor] = {}
    by_rows: dict[ProcessGroup, list[int]] = {}
    for index, parameter in enumerate(parameters):
        if not isinstance(parameter, DTensor):
            done[index] = orthogonal(updates[index])
        elif (group := _row_group(parameter)) is not None:
            by_rows.setdefault(group, []).append(index)
        else:
            done[index] = _by_all(parameter, updates[index], index, orthogonal)
    for group, indices in by_rows.items():
        size = group.size()
        for start in range(0, len(indices), size):
            taken = indices[start : start + size]
            shapes = [parameters[index].shape for index in taken]
            parts = _round([updates[index] for index in taken], shapes, group, orthogonal)
            done |= zip(taken, parts, strict=True)
    return [done[index] for index in range(len(parameters))]


def _row_group(parameter: DTensor) -> ProcessGroup | None:
    """The ranks that hold the rows of the matrix between them, if that is how it is divided."""
    if parameter.device_mesh.ndim != 1 or not parameter.placements[0].is_shard(0):
        return None
    return parameter.device_mesh.get_group()


def _round(
    parts: list[Tensor], shapes: list[torch.Size], group: ProcessGroup, orthogonal: Any
) -> list[Tensor]:
    """Rank i of the group orthogonalises the i-th matrix. Takes and gives this rank's part of each."""
    rank, size = group.rank(), group.size()
    sent = [part.numel() for part in parts] + [0] * (size - len(parts))
    shape = shapes[rank] if rank < len(shapes) else torch.Size((0, 1))
    received = [rows * shape[1] for rows in _rows(shape[0], size)]
    outgoing = torch.cat([part.flatten() for part in parts])
    matrix = outgoing.new_empty(sum(received))
    dist.all_to_all_single(matrix, outgoing, received, sent, group=group)
    if matrix.numel():
        matrix = orthogonal(matrix.view(shape)).to(outgoing.dtype).reshape(-1)
    incoming = torch.empty_like(outgoing)
    dist.all_to_all_single(incoming, matrix.contiguous(), sent, received, group=group)
    pieces = torch.split(incoming, sent[: len(parts)])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def _rows(n_rows: int, size: int) -> list[int]:
    """How many rows each rank holds, as `torch.chunk` deals them out."""
    most = -(-n_rows // size)
    return [max(0, min(most, n_rows - most * rank)) for rank in range(size)]


def _by_all(parameter: DTensor, update: Tensor, index: int, orthogonal: Any) -> Tensor:
    """For any other division, over several dimensions of a mesh: all gather, one computes and tells all."""
    mesh, placements = parameter.device_mesh, parameter.placements
    matrix = whole(
        DTensor.from_local(update, mesh, placements, shape=parameter.shape, stride=parameter.stride())
    )
    owner = index % mesh.size()
    flat = mesh.mesh.flatten().tolist()
    result = torch.empty_like(matrix, dtype=torch.bfloat16)
    if flat[owner] == dist.get_rank():
        result.copy_(orthogonal(matrix))
    group = dist.group.WORLD if len(flat) == dist.get_world_size() else mesh._flatten().get_group()
    dist.broadcast(result, src=flat[owner], group=group)
    replicated = [Replicate()] * mesh.ndim
    return local(DTensor.from_local(result.to(update.dtype), mesh, replicated).redistribute(mesh, placements))
