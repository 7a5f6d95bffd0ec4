"""What a run has of its checkpoints: whole ones, the manifests of removed ones, and what is damaged."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import CorruptCheckpoint
from toolkit.store.manifest import FOLDER, Checkpoint, read_checkpoint
from toolkit.store.runs import RunFolder

_ASIDE = re.compile(r"\.bad-step-(\d+)")


@dataclass(frozen=True)
class Held:
    """A checkpoint that a run has or had."""

    name: str
    """Of its folder; of a deleted one, its id."""
    step: int
    state: Literal["kept", "deleted", "corrupt"]
    """By what lies there: that the files of a kept one are intact is for `verify_files` to say."""
    checkpoint: Checkpoint | None
    """None where its manifest can't be read."""


def holdings(run: RunFolder) -> list[Held]:
    """Every checkpoint of the run that left a trace, by step."""
    store = CheckpointStore(run)
    found = [Held(item.id, item.step, "deleted", item) for item in store.pruned()]
    try:
        paths = sorted(run.checkpoints.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        paths = []
    for path in paths:
        if step := FOLDER.fullmatch(path.name):
            item = _manifest(path)
            found.append(Held(path.name, int(step[1]), "kept" if item else "corrupt", item))
        elif step := _ASIDE.match(path.name):
            found.append(Held(path.name, int(step[1]), "corrupt", _manifest(path)))
    return sorted(found, key=lambda held: held.step)


def _manifest(folder: Path) -> Checkpoint | None:
    try:
        return read_checkpoint(folder)
    except CorruptCheckpoint:
        return None
