"""The rows of a batch that one of several ranks has, where the loss compares all rows of the batch."""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Part(NamedTuple):
    """Rows `first` to `first + rows` of a batch of `total`. Alone, `peers` is None and the part is the whole."""

    first: int
    rows: int
    total: int
    peers: "ProcessGroup | None" = None

    @classmethod
    def of(cls, rows: int, device: torch.device, peers: "ProcessGroup | None") -> "Part":
        """The part of this rank, which has so many rows, behind those of the ranks before it. All `peers` call it."""
        if peers is None:
            return cls(0, rows, rows)
        counts = torch.zeros(peers.size(), dtype=torch.int64, device=device)
        counts[peers.rank()] = rows
        torch.distributed.all_reduce(counts, group=peers)
        return cls(int(counts[: peers.rank()].sum()), rows, int(counts.sum()), peers)

    def draw(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1, (rows, *shape): this part of those drawn for the whole batch."""
        return torch.rand(self.total, *shape)[self.first : self.first + self.rows]

    def draw_apart(self) -> None:
        """From now on, other numbers for each peer: for dropout, which is drawn for a peer's own rows."""
        if self.first:
            torch.manual_seed(torch.initial_seed() ^ self.first)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (total, width) of all peers, of which this part's are given; gradients go to each."""
        if self.peers is None:
            return rows
        from torch.distributed.nn.functional import all_reduce

        # A sum with zeros, and not a gathering: peers need not have equally many rows.
        spread = F.pad(rows, (0, 0, self.first, self.total - self.first - self.rows))
        whole: Tensor = all_reduce(spread, group=self.peers)  # type: ignore[no-untyped-call]
        return whole
