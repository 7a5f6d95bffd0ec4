"""Checkpoints that all ranks write together: each its parts, the first one the rest and the commit."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from toolkit.engine.checkpointing import Saver, Snapshot
from toolkit.engine.ranks import TIMEOUT, Ranks
from toolkit.engine.tensors import OPTIMIZER, WEIGHTS, parts_of, write_parts
from toolkit.plan.plan import Plan
from toolkit.store.errors import StoreError
from toolkit.store.lease import Lease
from toolkit.store.manifest import Checkpoint, Entry, hash_file
from toolkit.store.runs import RunFolder


class ShardedSaver(Saver):
    """Commits snapshots of all ranks, from a thread on each, which talk over a group of their own.

    The protocol of `CheckpointStore.commit` is kept: parts are hashed and synced where they were written, a
    failure on any rank is known before the manifest is written, and the first rank alone renames.
    """

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        lease: Lease | None,
        tokenizer: Mapping[str, bytes],
        announce: Callable[[Checkpoint], None],
        fail: Callable[[Exception], None],
        ranks: Ranks,
    ) -> None:
        super().__init__(plan, run, lease, tokenizer, announce, fail)
        self.ranks = ranks
        self.group = dist.new_group(backend="gloo", timeout=TIMEOUT)

    def _commit(self, snapshot: Snapshot, info: dict[str, object]) -> None:
        try:
            if self.ranks.first:
                self._called = False
                super()._commit(snapshot, info)
                if not self._called:
                    self._share(None)  # nothing to write: it is there, or could not be begun
                self._share(self.failure)
            else:
                folder = self._share(None)
                if isinstance(folder, Path):
                    self._collect(self._write_own(folder, snapshot))
                failure = self._share(None)
                self.failure = failure if isinstance(failure, Exception) else None
        except RuntimeError as error:  # another rank is gone
            self.failure = StoreError(f"the ranks could not save together: {error}")

    def _write_tensors(self, folder: Path, snapshot: Snapshot) -> Mapping[str, Entry]:
        self._called = True
        self._share(folder)
        known: dict[str, Entry] = {}
        for rank, result in enumerate(self._collect(self._write_own(folder, snapshot))):
            if isinstance(result, Exception):
                raise (
                    result
                    if isinstance(result, OSError | StoreError)
                    else StoreError(f"rank {rank}: {result}")
                )
            known |= result
        return known

    def _write_own(self, folder: Path, snapshot: Snapshot) -> "dict[str, Entry] | Exception":
        """This rank's parts, hashed and on the disk; or why not."""
        try:
            for name, tensors in ((WEIGHTS, snapshot.weights), (OPTIMIZER, snapshot.optimizer)):
                write_parts(folder, name, tensors, self.group)
            return {
                path.relative_to(folder).as_posix(): hash_file(path, durable=True)
                for path in parts_of(folder, self.ranks.rank)
            }
        except CheckpointException as error:
            reasons = sorted({f"{reason[0]}" for reason in error.failures.values()})
            return StoreError("; ".join(reasons))
        except OSError as error:
            return error

    def _share(self, value: object) -> object:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def _collect(self, value: "dict[str, Entry] | Exception") -> "list[dict[str, Entry] | Exception]":
        results: list[dict[str, Entry] | Exception] = [value] * self.ranks.world
        dist.gather_object(value, results if self.ranks.first else None, dst=0, group=self.group)
        return results
