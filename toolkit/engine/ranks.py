"""The processes that train one model together, and what they tell each other.

Everything here goes over the CPU (gloo), as numbers and JSON: nothing that arrives is unpickled. Tensors of the
model travel by the mesh.
A process alone has rank 0 of 1, and every exchange is the identity.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")
POLL = timedelta(seconds=2)
TIMEOUT = timedelta(minutes=30)
"""For an exchange between ranks; the hang watch is quicker."""
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
UNDER_AGENT = "TORCHELASTIC_RUN_ID"
"""Set by torchrun and by `tk run --nproc`."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among the ranks.

    Attributes:
        rank: 0 is the one that writes metrics, status, events and the console.
        world: How many there are.
        local: Number among the ranks of this machine: which GPU it takes.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def from_environment(cls) -> "Ranks":
        """As torchrun's variables tell it; alone without them."""
        number = {name: int(os.environ.get(name, default)) for name, default in _VARIABLES.items()}
        return cls(number["RANK"], number["WORLD_SIZE"], number["LOCAL_RANK"])

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def data(self) -> tuple[int, int]:
        """Which share of the micro-batches is this rank's: (index, number of shares)."""
        return self.rank, self.world

    def join(self, name: str) -> None:
        """Meet the other ranks, for the work of this name. Raises RuntimeError if some don't come."""
        if self.alone:
            return
        import torch
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(self.local % torch.cuda.device_count())
        # torchrun's store outlives a stage and a restart: each looks up its own keys in it.
        store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
        own = PrefixStore(f"{name}/{os.environ.get(RESTARTS, '0')}", store)
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=TIMEOUT)

    def leave(self) -> None:
        """Part from the others after work that all have done."""
        if not self.alone:
            import torch.distributed as dist

            dist.barrier(self._control)
            dist.destroy_process_group()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, in float64."""
        return list(values) if self.alone else self._reduce(values, highest=False)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any rank has it set. All ranks must call it at the same moment."""
        return list(flags) if self.alone else [value > 0 for value in self._reduce(flags, highest=True)]

    def share(self, text: str | None) -> str | None:
        """The first rank's text; what the others give is not looked at."""
        if self.alone:
            return text
        from toolkit.engine.wire import pack, tell, unpack

        return cast("str | None", unpack(tell(pack(text) if self.first else None, self._control)))

    def gather(self, values: list[T]) -> list[T]:
        """The values of all ranks, one after the other. See `wire.pack` for what they may be."""
        if self.alone:
            return values
        from toolkit.engine.wire import collect, pack, unpack

        return [value for part in collect(pack(values), self._control) for value in unpack(part)]

    def announce(self, name: str, text: str) -> None:
        """Leave something for the others, who may wait for it for hours (`heard`)."""
        if not self.alone:
            self._store.set(name, text)

    def heard(self, name: str) -> str | None:
        """What the first rank announced under this name; None if nothing came within two seconds."""
        from torch.distributed import DistStoreError

        try:
            self._store.wait([name], POLL)
        except DistStoreError:
            return None
        return self._store.get(name).decode()

    def told(self, name: str) -> bool:
        """Whether the first rank has announced something under this name."""
        return bool(self._store.check([name]))

    @cached_property
    def _control(self) -> "ProcessGroup":
        import torch.distributed as dist

        group: ProcessGroup = dist.new_group(backend="gloo", timeout=TIMEOUT)
        return group

    @cached_property
    def _store(self) -> "Store":
        from torch.distributed.distributed_c10d import _get_default_store

        return _get_default_store()

    def _reduce(self, values: Sequence[float], *, highest: bool) -> list[float]:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor([float(value) for value in values], dtype=torch.float64)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX if highest else dist.ReduceOp.SUM, group=self._control)
        return [float(value) for value in tensor]


PLAN = "tk/plan"
"""Announced by the first rank once the data is prepared: a `Beginning`, or STOPPED."""
STOPPED = "stopped"
_VARIABLES = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
ALONE = Ranks()
