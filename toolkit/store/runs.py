"""The runs folder: where a run's files are, which runs there are, and how a user names one."""

import difflib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.store.atomic import fsync_folder
from toolkit.store.errors import BadName, StoreError, UnknownRun

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
FIRST_STAGE = "pretrain"
_ASIDE = re.compile(r"\.(replaced|removed)-(?P<stage>.+)-(?P<stamp>\d{8}-\d{6})(-(?P<count>\d+))?")


def runs_root(explicit: Path | None = None) -> Path:
    """The runs folder: `explicit`, else the environment's TK_RUNS, else ./runs."""
    return explicit or Path(os.environ.get("TK_RUNS") or "runs")


@dataclass(frozen=True)
class RunFolder:
    """The files of the run `name`/`stage` under `root`. It need not exist yet. Raises BadName."""

    root: Path
    name: str
    stage: str = FIRST_STAGE

    def __post_init__(self) -> None:
        for text in (self.name, self.stage):
            if not NAME.fullmatch(text):
                raise BadName(
                    f"{text!r} cannot name a run: use up to 64 lower-case letters, digits, '.', '_' and '-', "
                    "beginning with a letter or a digit."
                )

    def __str__(self) -> str:
        return f"{self.name}/{self.stage}"

    @property
    def path(self) -> Path:
        return self.root / self.name / self.stage

    @property
    def spec(self) -> Path:
        return self.path / "spec.toml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def lease(self) -> Path:
        return self.path / "lease.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def heartbeat(self) -> Path:
        """The folder of the heartbeats, one file a rank."""
        return self.path / "heartbeat"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def console(self) -> Path:
        return self.path / "console.log"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def submission(self) -> Path:
        """Which job of a batch system carries the run out."""
        return self.path / "submit.json"

    @property
    def stacks(self) -> Path:
        """The folder of the stacks of ranks that hung."""
        return self.path / "stacks"

    @property
    def requests(self) -> Path:
        return self.path / "requests"

    def exists(self) -> bool:
        """Whether a run was ever started or submitted here."""
        signs = (self.plan, self.status, self.events, self.submission)
        return any(path.is_file() for path in signs)

    def create(self) -> None:
        """Make the folder and those within it. Raises StoreError where a link leads out of the root."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.refuse_links()
        for folder in (self.path, self.heartbeat, self.checkpoints, self.requests):
            folder.mkdir(parents=True, exist_ok=True)
        self.refuse_links()
        for folder in (self.root, self.path.parent, self.path):
            fsync_folder(folder)

    def refuse_links(self) -> None:
        """Raises StoreError if a part of the path is a symbolic link that leaves the runs folder."""
        root = self.root.resolve()
        for folder in (self.path.parent, self.path, self.heartbeat, self.checkpoints, self.requests):
            if folder.is_symlink() and not folder.resolve().is_relative_to(root):
                raise StoreError(
                    f"{folder} is a link that leaves the runs folder {root}. "
                    "Remove it, or point TK_RUNS at the place where runs should be."
                )


def find_runs(root: Path) -> Iterator[RunFolder]:
    """Every run under `root`, by name and stage, `pretrain` first."""
    for name in _folders(root):
        for stage in sorted(_folders(root / name), key=lambda stage: (stage != FIRST_STAGE, stage)):
            run = RunFolder(root, name, stage)
            if run.exists():
                yield run


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def parse_reference(text: str, root: Path | None = None) -> tuple[RunFolder, str | None]:
    """The run and the checkpoint selector that `gpt_small/pretrain@best` names; neither need exist.

    `gpt_small` is short for `gpt_small/pretrain`; without an `@` the selector is None. A path into the
    runs folder (`runs/gpt_small/pretrain`) is read too, as a shell completes it. Raises BadName.
    """
    root = runs_root(root)
    where, mark, selector = text.partition("@")
    where = where.rstrip("/")
    if where.startswith(f"{root}/"):
        where = where[len(f"{root}/") :]
    parts = where.split("/")
    if not 1 <= len(parts) <= 2 or (mark and not selector):
        raise BadName(
            f"{text!r} does not name a run. Write NAME, NAME/STAGE or NAME/STAGE@CHECKPOINT, "
            "such as gpt_small/pretrain@best."
        )
    return RunFolder(root, *parts), selector or None


def open_run(root: Path, reference: str) -> RunFolder:
    """The run that `reference` names. Raises BadName, or UnknownRun with the nearest run there is."""
    run, selector = parse_reference(reference, root)
    if selector is not None:
        raise BadName(f"{reference!r} names a checkpoint; here a run is wanted: {run}")
    require_run(run)
    return run


def require_run(run: RunFolder) -> None:
    """Raises UnknownRun, with the nearest run there is, unless the run was ever started."""
    if run.exists():
        return
    known = [str(other) for other in find_runs(run.root)]
    stages = [other for other in known if other.startswith(f"{run.name}/")]
    nearest = difflib.get_close_matches(str(run), known, n=1, cutoff=0.5)
    if stages:
        hint = f"There {'is' if len(stages) == 1 else 'are'} {', '.join(stages)}."
    elif nearest:
        hint = f"Did you mean {nearest[0]}?"
    elif known:
        hint = "`tk ls` lists the runs there are."
    else:
        hint = "There is no run there yet: `tk run SPEC` starts one."
    raise UnknownRun(f"no run {run} in {run.root}. {hint}")


def set_aside(run: RunFolder, why: Literal["replaced", "removed"] = "replaced") -> Path:
    """Move a run out of sight, whole; the new place is returned.

    The caller has made sure that nobody holds it.
    """
    run.refuse_links()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    for count in range(1000):
        target = run.path.with_name(f".{why}-{run.stage}-{stamp}" + (f"-{count}" if count else ""))
        if not target.exists():
            run.path.rename(target)
            fsync_folder(target.parent)
            return target
    raise StoreError(f"{run.path.parent} is full of runs set aside. `tk rm --empty` deletes them.")


def find_aside(root: Path) -> list[Path]:
    """The folders of runs that were set aside, the oldest first."""
    found = [
        path for name in _folders(root) for path in (root / name).iterdir() if _ASIDE.fullmatch(path.name)
    ]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_when_aside)


def bring_back(run: RunFolder) -> None:
    """Undo the last `set_aside` of a run. Raises UnknownRun where there was none, StoreError where another took its
    place."""
    mine = [
        path
        for path in find_aside(run.root)
        if path.parent.name == run.name and _ASIDE.fullmatch(path.name)["stage"] == run.stage  # type: ignore[index]
    ]
    if not mine:
        raise UnknownRun(f"no run {run} was removed or replaced in {run.root}.")
    if run.path.exists():
        raise StoreError(f"{run.path} is there. Remove that run first: `tk rm {run}`.")
    mine[-1].rename(run.path)
    fsync_folder(run.path.parent)


def _when_aside(path: Path) -> tuple[str, int]:
    match = _ASIDE.fullmatch(path.name)
    assert match, "found by this pattern"
    return match["stamp"], int(match["count"] or 0)
