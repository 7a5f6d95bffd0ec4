"""Which checkpoint came from which, told by the manifests alone."""

from dataclasses import dataclass
from pathlib import Path

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import UnknownCheckpoint
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder, find_runs


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint in a history. `run` and `checkpoint` are None where only its id is known here."""

    id: str
    role: str
    """What it was to its child: `previous`, `init` …; `self` for the one asked about."""
    depth: int
    """Generations back: 0 for the one asked about."""
    run: RunFolder | None
    checkpoint: Checkpoint | None
    kept: bool
    """Whether its weights are still there."""


def history(root: Path, checkpoint_id: str) -> list[Ancestor]:
    """The checkpoint and all it comes from, nearest first, each once. Raises UnknownCheckpoint.

    Removed checkpoints are in it, as their manifests stay. A parent from elsewhere ends its line.
    """
    known = _all(root)
    if checkpoint_id not in known:
        raise UnknownCheckpoint(f"no checkpoint {checkpoint_id} in {root}. `tk show RUN` lists a run's.")
    found: dict[str, Ancestor] = {}
    wanted = [(checkpoint_id, "self")]
    depth = 0
    while wanted:
        parents = []
        for identity, role in wanted:
            if identity in found:
                continue
            run, checkpoint, kept = known.get(identity, (None, None, False))
            found[identity] = Ancestor(identity, role, depth, run, checkpoint, kept)
            if checkpoint is not None:
                parents += [(parent.id, parent.role) for parent in checkpoint.parents]
        wanted, depth = parents, depth + 1
    return list(found.values())


def locate(root: Path, checkpoint_id: str, *, first: str = "") -> Checkpoint | None:
    """The kept checkpoint of an id, wherever in the runs folder it is; `first` is the run to look in first."""
    runs = sorted(find_runs(root), key=lambda run: str(run) != first)
    for run in runs:
        for checkpoint in CheckpointStore(run).list():
            if checkpoint.id == checkpoint_id:
                return checkpoint
    return None


def _all(root: Path) -> dict[str, tuple[RunFolder, Checkpoint, bool]]:
    known: dict[str, tuple[RunFolder, Checkpoint, bool]] = {}
    for run in find_runs(root):
        store = CheckpointStore(run)
        known.update({item.id: (run, item, False) for item in store.pruned()})
        known.update({item.id: (run, item, True) for item in store.list()})
    return known
