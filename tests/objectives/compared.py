"""Losses that compare the rows of a batch, by forked ranks that have a part of them each:

    python compared.py ROWS_OF_RANK_0 ROWS_OF_RANK_1 ...

Prints, as JSON, for `simclr` and `vicreg` the loss summed over the ranks and its gradients.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from toolkit.objectives.contrastive import nt_xent, vicreg
from toolkit.objectives.part import Part


def outputs(rows: int) -> Tensor:
    """Both views of each image, (2, rows, 5)."""
    return torch.randn(2, rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss(method: str, views: Tensor, part: Part) -> Tensor:
    first, second = views
    if method == "simclr":
        return nt_xent(first, second, 0.2, part)[0]
    return vicreg(part.gather(first), part.gather(second), (25.0, 25.0, 1.0)) * part.rows


def rank(counts: Sequence[int], number: int, meet: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=number, world_size=len(counts))
    part = Part.of(counts[number], torch.device("cpu"), dist.group.WORLD)
    assert (part.first, part.total) == (sum(counts[:number]), sum(counts))
    here = slice(part.first, part.first + part.rows)
    found = {}
    for method in ("simclr", "vicreg"):
        views = outputs(part.total).requires_grad_()
        value = loss(method, views[:, here], part)
        value.backward()
        total = torch.cat((value.detach()[None], views.grad.flatten()))
        dist.all_reduce(total)
        found[method] = total.tolist()
    if number == 0:
        print(json.dumps(found), flush=True)


def main(counts: Sequence[int]) -> int:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    children = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(counts)):
            children.append(os.fork())
            if children[-1] == 0:
                status = 1
                try:
                    rank(counts, number, f"{folder}/meet")
                    status = 0
                finally:
                    os._exit(status)
        return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main([int(count) for count in sys.argv[1:]]))
