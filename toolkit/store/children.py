"""Which runs came from a run's checkpoints: each child leaves a note with its parent, so that what it needs is
kept."""

from dataclasses import dataclass

from toolkit.store.atomic import read_json, to_json, write_atomic
from toolkit.store.errors import BadFile
from toolkit.store.runs import NAME, RunFolder

FOLDER = "children"


@dataclass(frozen=True)
class Child:
    """A run that began with a checkpoint of another."""

    run: RunFolder
    checkpoint: str
    """Id of the parent's checkpoint."""


def note_child(parent: RunFolder, child: RunFolder, checkpoint: str) -> None:
    """Leave the note. A child has one, which a new start of it replaces."""
    folder = parent.path / FOLDER
    folder.mkdir(exist_ok=True)
    note = {"name": child.name, "stage": child.stage, "checkpoint": checkpoint}
    write_atomic(folder / f"{child.name}--{child.stage}.json", to_json(note))


def children(parent: RunFolder) -> list[Child]:
    """The children that are still there."""
    found = []
    for path in sorted((parent.path / FOLDER).glob("*.json")):
        try:
            note = read_json(path)
            name, stage, checkpoint = str(note["name"]), str(note["stage"]), str(note["checkpoint"])
        except (BadFile, KeyError, FileNotFoundError):
            continue
        if NAME.fullmatch(name) and NAME.fullmatch(stage):
            child = Child(RunFolder(parent.root, name, stage), checkpoint)
            if child.run.exists():
                found.append(child)
    return found
