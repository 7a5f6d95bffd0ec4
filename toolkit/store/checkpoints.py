"""The checkpoints of a run: committed whole or not at all, verified before they are used.

Protocol: files into a temporary folder; each hashed and synced; the manifest last; the folder synced; the
lease read again; the folder renamed; its parent synced. A kill or a power loss at any point leaves either
the old checkpoints or the old ones and the new one.
"""

import errno
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.store.atomic import fsync_folder, write_atomic
from toolkit.store.children import children
from toolkit.store.errors import (
    BadName,
    CorruptCheckpoint,
    DiskFull,
    NoGoodCheckpoint,
    StoreError,
    UnknownCheckpoint,
)
from toolkit.store.manifest import (
    FOLDER,
    MANIFEST,
    Checkpoint,
    Entry,
    Parent,
    parse_manifest,
    read_checkpoint,
    seal,
    verify_files,
)
from toolkit.store.retention import by_merit, criterion, to_keep
from toolkit.store.runs import RunFolder, parse_reference, require_run

OnBad = Callable[[CorruptCheckpoint, Path], None]
"""Told of a checkpoint that is not intact, and where it was moved to."""


class CheckpointStore:
    """The checkpoints of a run. Reading needs nothing; the other methods are for the run's holder."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.path = run.checkpoints
        self._verified: dict[str, list[tuple[str, int, int]]] = {}

    def commit(
        self,
        step: int,
        write: Callable[[Path], Mapping[str, Entry] | None],
        *,
        info: Mapping[str, Any],
        parents: Sequence[Parent] = (),
        before_rename: Callable[[], None] = lambda: None,
    ) -> Checkpoint:
        """Have `write` fill a folder and make that the checkpoint of `step`. Of files that are hashed and
        synced already it returns the entries.

        `info` is kept in the manifest (its `metrics`, by name, decide which is best). `before_rename` is
        where the lease is checked; whatever it raises leaves nothing behind. An intact checkpoint
        of that step is returned as it is, and nothing is written. Raises DiskFull, with the old checkpoints
        untouched, and whatever `write` raises.
        """
        before_rename()
        self._sweep()
        target = self.path / f"step-{step:08d}"
        if target.exists():
            try:
                return self._good(target)
            except CorruptCheckpoint:
                self._set_aside(target)
        beside = self.path / f".tmp-{target.name}-{secrets.token_hex(4)}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            beside.mkdir()
            known = write(beside)
            seal(beside, step, info, parents, known)
            before_rename()
            beside.rename(target)
        except BaseException as error:
            shutil.rmtree(beside, ignore_errors=True)
            if _is_disk_full(error):
                raise DiskFull(
                    f"no space left for the checkpoint of step {step} in {self.path} "
                    f"({self.free_bytes() / 2**20:.0f} MiB free). The earlier checkpoints are intact. "
                    "Free some space, or keep fewer: run.keep."
                ) from error
            raise
        fsync_folder(self.path)
        checkpoint = read_checkpoint(target)
        self._verified[checkpoint.id] = _stamp(checkpoint)
        return checkpoint

    def list(self) -> Sequence[Checkpoint]:
        """The checkpoints whose manifest can be read, by step. Their files are not read: see `verify`."""
        found = []
        for folder in self._folders():
            try:
                found.append(read_checkpoint(folder))
            except CorruptCheckpoint:
                continue
        return found

    def verify(self, checkpoint: Checkpoint) -> None:
        """Read every file of the checkpoint. Raises CorruptCheckpoint."""
        verify_files(checkpoint)

    def newest_good(self, on_bad: OnBad) -> Checkpoint | None:
        """The newest intact checkpoint; None if the run never had one.

        Newer ones that are not intact are moved to `.bad-…` and told to `on_bad`. Raises NoGoodCheckpoint
        if there were some and none is left: going back to step 0 is for the user to decide.
        """
        for folder in reversed(self._folders()):
            try:
                return self._good(folder, again=True)
            except CorruptCheckpoint as error:
                on_bad(error, self._set_aside(folder))
        bad = sorted(self.path.glob(".bad-*")) if self.path.is_dir() else []
        if bad:
            raise NoGoodCheckpoint(
                f"{self.run} has {len(bad)} checkpoint{'s' if len(bad) > 1 else ''} and none is intact; "
                f"{'they are' if len(bad) > 1 else 'it is'} kept as {self.path}/.bad-*. "
                "Put an intact copy back there, or begin again with --replace."
            )
        return None

    def prune(
        self,
        *,
        last: int = 2,
        best: int = 1,
        every: int | None = None,
        back: int | None = None,
        on_bad: OnBad = lambda error, path: None,
    ) -> Sequence[Checkpoint]:
        """Remove what is neither among the last, nor the best, nor an `every`-th step, nor the last `back`-th; return
        what went.

        Only intact checkpoints count, and the last two of these stay whatever is asked, as do those that other
        runs came from. Manifests of removed ones stay in `pruned/`, so that lineage is never lost.
        """
        good = []
        for folder in self._folders():
            try:
                good.append(self._good(folder))
            except CorruptCheckpoint as error:
                on_bad(error, self._set_aside(folder))
        keep = to_keep(good, last=last, best=best, every=every, back=back)
        needed = {child.checkpoint for child in children(self.run)}
        removed = [item for item in good if item.step not in keep and item.id not in needed]
        for checkpoint in removed:
            self._remove(checkpoint)
        return removed

    def go_back(self, step: int) -> Checkpoint:
        """The intact checkpoint of this step, with all later ones removed, from the newest on: a kill in between
        leaves a run that comes to the same point again. Their manifests stay, as in `prune`.

        Raises StoreError, with nothing removed, where it isn't there or other runs came from later ones, and
        CorruptCheckpoint.
        """
        folder = self.path / f"step-{step:08d}"
        if not folder.is_dir():
            raise StoreError(f"{self.run} should go back to step {step}, and has no checkpoint of it.")
        checkpoint = self._good(folder, again=True)
        later = [item for item in self.list() if item.step > step]
        for child in children(self.run):
            if child.checkpoint in {item.id for item in later}:
                raise StoreError(
                    f"{self.run} should go back to step {step}, and {child.run} came from a later checkpoint of it, "
                    "which would go. Train on with --as NEW_NAME, or remove that run."
                )
        for item in reversed(later):
            self._remove(item)
        return checkpoint

    def discard(self) -> None:
        """Remove every checkpoint that no other run came from. The manifests stay, as in `prune`."""
        needed = {child.checkpoint for child in children(self.run)}
        for checkpoint in self.list():
            if checkpoint.id not in needed:
                self._remove(checkpoint)

    def pruned(self) -> Sequence[Checkpoint]:
        """Checkpoints that were removed, as their manifests tell of them, by step; their paths are gone."""
        found = []
        for path in (self.path / "pruned").glob("*.json"):
            try:
                manifest = parse_manifest(path.read_bytes(), path)
            except CorruptCheckpoint:
                continue
            if manifest.id == path.stem:
                found.append(manifest)
        return sorted(found, key=lambda item: item.step)

    def resolve(self, selector: str | None) -> Checkpoint:
        """The checkpoint that `last` (also None), `best`, `step_2000` or the first 8 or more digits of an id
        select, with or without an `@`. It is not verified. Raises UnknownCheckpoint or BadName."""
        text = (selector or "last").removeprefix("@")
        here = self.list()
        step = re.fullmatch(r"step[_-](\d+)", text)
        if text == "last":
            found = here[-1:]
        elif text == "best":
            found = by_merit(here)[:1]
        elif step:
            found = [item for item in here if item.step == int(step[1])]
        elif re.fullmatch(r"[0-9a-f]{8,64}", text):
            found = [item for item in here if item.id.startswith(text)]
        else:
            raise BadName(f"@{text} does not select a checkpoint. Write @last, @best, @step_2000 or @ID.")
        if len(found) == 1:
            return found[0]
        if not here:
            raise UnknownCheckpoint(f"{self.run} has no checkpoint yet.")
        if text == "best":
            raise UnknownCheckpoint(
                f"{self.run} has no checkpoint with {criterion(here)[0]}. @last selects the newest."
            )
        steps = ", ".join(f"@step_{item.step}" for item in here)
        raise UnknownCheckpoint(f"{self.run} has no checkpoint @{text}. It has {steps}; @last and @best too.")

    def free_bytes(self) -> int:
        """Bytes that can still be written where the checkpoints lie."""
        folder = self.path
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _folders(self) -> Sequence[Path]:
        if not self.path.is_dir():
            return []
        found = [path for path in self.path.iterdir() if FOLDER.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))

    def _remove(self, checkpoint: Checkpoint) -> None:
        pruned = self.path / "pruned"
        pruned.mkdir(exist_ok=True)
        write_atomic(pruned / f"{checkpoint.id}.json", (checkpoint.path / MANIFEST).read_bytes())
        trash = self.path / f".trash-{checkpoint.path.name}-{secrets.token_hex(4)}"
        checkpoint.path.rename(trash)
        shutil.rmtree(trash)
        self._verified.pop(checkpoint.id, None)

    def _good(self, folder: Path, *, again: bool = False) -> Checkpoint:
        """The checkpoint, verified; not `again` if this process has done so and no file changed since."""
        checkpoint = read_checkpoint(folder)
        stamp = _stamp(checkpoint)
        if again or self._verified.get(checkpoint.id) != stamp:
            verify_files(checkpoint)
            self._verified[checkpoint.id] = stamp
        return checkpoint

    def _set_aside(self, folder: Path) -> Path:
        for count in range(1000):
            target = self.path / (f".bad-{folder.name}" + (f"-{count}" if count else ""))
            if not target.exists():
                folder.rename(target)
                fsync_folder(self.path)
                return target
        raise StoreError(f"{self.path} is full of bad checkpoints. Delete the .bad-* folders there.")

    def _sweep(self) -> None:
        """Remove what a killed commit or removal left. The lease was just checked: nobody else writes."""
        for pattern in (".tmp-*", ".trash-*"):
            for path in self.path.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)


def find_checkpoint(reference: str, root: Path | None = None) -> tuple[RunFolder, Checkpoint]:
    """The run and the checkpoint that `gpt_small/pretrain@best` names; without an `@` its last.

    Raises BadName, UnknownRun or UnknownCheckpoint.
    """
    run, selector = parse_reference(reference, root)
    require_run(run)
    return run, CheckpointStore(run).resolve(selector)


def _stamp(checkpoint: Checkpoint) -> list[tuple[str, int, int]]:
    """What changes when a file is rewritten or cut, at the price of a look at the folder."""
    stamps = []
    for path in sorted(checkpoint.path.rglob("*")):
        info = path.lstat()
        stamps.append((path.name, info.st_size, info.st_mtime_ns))
    return stamps


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors reports the system's error in words only.
    return "os error 28" in str(error) or "No space left on device" in str(error)
