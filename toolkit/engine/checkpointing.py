"""A trainer's state into checkpoints and back. Writing goes on beside the training."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from toolkit.engine.parallel import local
from toolkit.engine.tensors import OPTIMIZER, SUFFIX, WEIGHTS, describe, load_parts, read_tensors
from toolkit.engine.trainer import Trainer
from toolkit.plan.plan import Plan
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import StoreError
from toolkit.store.lease import Lease
from toolkit.store.manifest import Checkpoint, Entry, Parent
from toolkit.store.runs import RunFolder
from toolkit.store.status import Best

STATE = "state.json"
PLAN = "plan.json"
TOKENIZER = "tokenizer.json"


class State(BaseModel):
    """What a run carries from step to step besides its tensors."""

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Units of loss learned from."""
    flops: float = 0.0
    """Spent on training, counted from the modules as built."""
    seconds: float = 0.0
    """Of training steps, over all attempts."""
    evaluation_seconds: float = 0.0
    evaluated_at: int = -1
    sampled_at: int = -1
    metrics: dict[str, float] = Field(default_factory=dict)
    """Last value of each metric."""
    best: Best | None = None
    skipped: int = 0
    """Batches passed over: the next one has the number step + skipped."""
    recovered: int = 0
    """How often a batch was recovered from."""
    recent: list[tuple[float, float]] = Field(default_factory=list)
    """Loss and norm of the gradient of the last steps, where spikes are looked for."""
    peak_memory: int = 0
    """Bytes, over all attempts."""

    def after(self, later: "State") -> "State":
        """This state, gone back to from a later one: what was spent is spent."""
        spent = ("flops", "seconds", "evaluation_seconds", "peak_memory")
        return self.model_copy(update={name: getattr(later, name) for name in spent})


@dataclass(frozen=True)
class Snapshot:
    """A copy of this rank's state in host memory, which later steps don't touch."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: State

    @classmethod
    def take(cls, trainer: Trainer, state: State, before: "Snapshot | None" = None) -> "Snapshot":
        """`before` is one that nobody reads any more: its memory is used again, which is several times faster
        than having the system hand out new pages.
        """
        kept = (before.weights, before.optimizer) if before else ({}, {})
        weights = {name: _copy(t, kept[0].get(name)) for name, t in trainer.weights().items()}
        optimizer = {name: _copy(t, kept[1].get(name)) for name, t in trainer.optimizers.state()}
        return cls(weights, optimizer, state.model_copy(deep=True))


class Saver:
    """Commits snapshots from a thread, one at a time, and keeps the checkpoints the plan asks for.

    Args:
        tokenizer: Files of the tokenizer, by name; none for a model that reads no text.
        announce: Called from the thread with each new checkpoint.
        fail: Called from the thread when a checkpoint could not be written.
    """

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        lease: Lease | None,
        tokenizer: Mapping[str, bytes],
        announce: Callable[[Checkpoint], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.plan = plan
        self.lease = lease
        """None on ranks other than the first, which commit nothing."""
        self.tokenizer = tokenizer
        self.announce = announce
        self.fail = fail
        self.store = CheckpointStore(run)
        listed = self.store.list()
        self.previous = listed[-1].id if listed else None
        self.failure: Exception | None = None
        """Why the last checkpoint was not written; None if it was."""
        self._thread: threading.Thread | None = None
        self._snapshot: Snapshot | None = None

    def save(self, trainer: Trainer, state: State, info: dict[str, object]) -> None:
        """Copy the state and write it behind the training's back; waits for the write before, if any."""
        self.wait()
        self._snapshot = Snapshot.take(trainer, state, self._snapshot)
        self._thread = threading.Thread(target=self._commit, args=(self._snapshot, info), name="saver")
        self._thread.start()

    def go_back(self, step: int) -> Checkpoint:
        """The checkpoint of an earlier step, on all ranks, with the later ones removed. Raises StoreError."""
        assert self.lease is not None, "only its holder removes anything"
        self.lease.check()
        checkpoint = self.store.go_back(step)
        self.previous = checkpoint.id
        return checkpoint

    def wait(self) -> None:
        """Until what was handed over is on the disk, or has failed and been told."""
        if self._thread:
            self._thread.join()
            self._thread = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _commit(self, snapshot: Snapshot, info: dict[str, object]) -> None:
        parents = [Parent(self.previous, "previous")] if self.previous else self._origin()
        keep = self.plan.run.keep
        assert self.lease is not None, "only its holder commits to a run"
        try:
            checkpoint = self.store.commit(
                snapshot.state.step,
                lambda folder: self._write(folder, snapshot),
                info={**info, "ancestry_flops": snapshot.state.flops + self._inherited_flops()},
                parents=parents,
                before_rename=self.lease.check,
            )
            self.previous, self.failure = checkpoint.id, None
            self.announce(checkpoint)
            back = self.plan.train.recovery.point_every
            self.store.prune(last=keep.last, best=keep.best, every=keep.every, back=back)
        except (StoreError, OSError, SafetensorError) as error:
            self.failure = error
            self.fail(error)

    def _origin(self) -> list[Parent]:
        """What the first checkpoint of a run comes from."""
        parent = self.plan.parent
        if parent is None or parent.checkpoint is None:
            return []
        return [Parent(parent.checkpoint, "shape" if self._from_scratch else "init")]

    @property
    def _from_scratch(self) -> bool:
        """Whether the run takes its parent's shape and leaves the weights."""
        return getattr(self.plan.task, "start", "parent") == "scratch"

    def _inherited_flops(self) -> float:
        """Spent on the weights that the run began with: none where it began with random ones."""
        parent = self.plan.parent
        return 0.0 if parent is None or self._from_scratch else parent.flops or 0.0

    def _write(self, folder: Path, snapshot: Snapshot) -> Mapping[str, Entry]:
        known = self._write_tensors(folder, snapshot)
        (folder / STATE).write_text(snapshot.state.model_dump_json(indent=1))
        (folder / PLAN).write_text(self.plan.model_dump_json(indent=1))
        for name, content in self.tokenizer.items():
            (folder / name).write_bytes(content)
        return known

    def _write_tensors(self, folder: Path, snapshot: Snapshot) -> Mapping[str, Entry]:
        """Write them; what of it is hashed and synced already."""
        save_file(snapshot.weights, folder / f"{WEIGHTS}{SUFFIX}")
        save_file(snapshot.optimizer, folder / f"{OPTIMIZER}{SUFFIX}")
        return {}


def load_checkpoint(trainer: Trainer, checkpoint: Checkpoint) -> State:
    """Put a verified checkpoint into the trainer. Raises StoreError when it belongs to another model."""
    try:
        if trainer.ranks.alone:
            trainer.load(read_tensors(checkpoint.path, WEIGHTS), read_tensors(checkpoint.path, OPTIMIZER))
        else:
            _load_parts(trainer, checkpoint.path)
    except (RuntimeError, KeyError, ValueError) as error:
        raise StoreError(f"{checkpoint.path} does not fit the plan's model: {error}") from error
    return read_state(checkpoint)


def read_state(checkpoint: Checkpoint) -> State:
    """What a verified checkpoint says beside its tensors."""
    return State.model_validate_json((checkpoint.path / STATE).read_bytes())


def _load_parts(trainer: Trainer, folder: Path) -> None:
    weights = trainer.weights()
    load_parts(folder, WEIGHTS, weights)
    optimizer = trainer.optimizers.blank(
        {name: entry.size for name, entry in describe(folder, OPTIMIZER).items()}
    )
    load_parts(folder, OPTIMIZER, optimizer)
    trainer.load(weights, optimizer)


def _copy(tensor: Tensor, into: Tensor | None) -> Tensor:
    if into is not None and into.shape == tensor.shape:
        local(into).copy_(local(tensor))
        return into
    if isinstance(tensor, DTensor):
        return tensor.detach().to("cpu", copy=True)
    return torch.empty_like(tensor, device="cpu").copy_(tensor)
