"""Checkpoints that all ranks write together: each its parts, the first one the rest and the commit."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch.distributed as dist
from pydantic import BaseModel
from safetensors import SafetensorError

from toolkit.engine.beginning import Place
from toolkit.engine.checkpointing import Saver, Snapshot
from toolkit.engine.ranks import TIMEOUT, Ranks
from toolkit.engine.tensors import OPTIMIZER, WEIGHTS, write_parts
from toolkit.engine.wire import collect, tell
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

    def go_back(self, step: int) -> Checkpoint:
        if not self.ranks.first:
            text = tell(None, self.group)
            place, _, problem = text.partition("\n")
            if problem:
                raise StoreError(problem)
            return Place.model_validate_json(place).read()
        try:
            checkpoint = super().go_back(step)
        except (StoreError, OSError) as error:
            tell(f"\n{error}", self.group)
            raise
        tell(Place.of(checkpoint).model_dump_json(), self.group)
        return checkpoint

    def _commit(self, snapshot: Snapshot, info: dict[str, object]) -> None:
        try:
            if self.ranks.first:
                self._called = False
                super()._commit(snapshot, info)
                if not self._called:
                    tell("", self.group)  # nothing to write: it is there, or could not be begun
                tell(str(self.failure) if self.failure else "", self.group)
            else:
                if folder := tell(None, self.group):
                    collect(self._write_own(Path(folder), snapshot).model_dump_json(), self.group)
                failure = tell(None, self.group)
                self.failure = StoreError(failure) if failure else None
        except RuntimeError as error:  # another rank is gone
            self.failure = StoreError(f"the ranks could not save together: {error}")

    def _write_tensors(self, folder: Path, snapshot: Snapshot) -> Mapping[str, Entry]:
        self._called = True
        tell(str(folder), self.group)
        known: dict[str, Entry] = {}
        own = self._write_own(folder, snapshot).model_dump_json()
        for rank, text in enumerate(collect(own, self.group)):
            written = Written.model_validate_json(text)
            if written.problem is not None:
                raise StoreError(f"rank {rank}: {written.problem}")
            if written.errno is not None:
                raise OSError(written.errno, os.strerror(written.errno), f"parts of rank {rank}")
            known |= written.files
        return known

    def _write_own(self, folder: Path, snapshot: Snapshot) -> "Written":
        """This rank's parts, hashed and on the disk; or why not."""
        try:
            files = {}
            for name, tensors in ((WEIGHTS, snapshot.weights), (OPTIMIZER, snapshot.optimizer)):
                path = write_parts(folder, name, tensors, self.ranks.rank)
                files[path.relative_to(folder).as_posix()] = hash_file(path, durable=True)
        except (OSError, SafetensorError) as error:
            number = getattr(error, "errno", None)
            return Written(errno=number, problem=None if number else str(error))
        return Written(files=files)


class Written(BaseModel):
    """What a rank wrote, or why it could not."""

    files: dict[str, Entry] = {}
    problem: str | None = None
    errno: int | None = None
    """Of an error of the system."""
