"""What a save is put through: a kill, an error or a power loss at each of its system calls.

    python crash_harness.py FOLDER kill|error|power

Runs on its own, because it forks: a test session may have threads. Prints how many states it tried, and
exits 1 with the first one that lost something.
"""

import errno
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from toolkit.store import atomic, checkpoints, manifest
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import StoreError
from toolkit.store.events import append_event, read_events
from toolkit.store.lease import hold
from toolkit.store.manifest import Checkpoint, Parent
from toolkit.store.runs import RunFolder
from toolkit.store.status import Status, read_status, write_status

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "close")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE)


def content(step: int) -> dict[str, bytes]:
    return {"model.safetensors": bytes([step % 251]) * 500, "state.json": b'{"step": %d}' % step}


def write(step: int) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, data in content(step).items():
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, data)
            os.close(descriptor)

    return fill


def save(run: RunFolder, step: int, announce: Callable[[int], None] = lambda step: None) -> None:
    """What the engine does at a checkpoint: commit, note it, announce it, remove old ones."""
    with hold(run) as lease:
        store = CheckpointStore(run)
        here = store.list()
        parents = [Parent(here[-1].id, "previous")] if here else []
        info = {"metrics": {"val/loss": 10.0 / step}}
        store.commit(step, write(step), info=info, parents=parents, before_rename=lease.check)
        announce(step)
        append_event(run, "checkpoint", step=step)
        store.prune(last=2, best=1)
        write_status(run, Status(state="stopped", step=step))


def newest(run: RunFolder) -> int:
    """The step a resume would start from, its files compared with what was written."""
    found = CheckpointStore(run).newest_good(lambda error, path: None)
    assert isinstance(found, Checkpoint)
    for name, data in content(found.step).items():
        assert (found.path / name).read_bytes() == data
    return found.step


def check(run: RunFolder, old: int, new: int, announced: bool) -> None:
    """Nothing announced is lost, every reader works, and the next save succeeds and tidies up."""
    step = newest(run)
    assert step == new if announced else step in (old, new), f"resumes from {step}, announced: {announced}"
    assert all(event["kind"] == "checkpoint" for event in read_events(run))
    status = read_status(run)
    assert status is None or status.step in (old, new)
    save(run, new + 1)
    assert newest(run) == new + 1
    left = [path.name for path in run.checkpoints.glob(".*")]
    assert not left, f"left behind: {left}"


@contextmanager
def calls(at_call: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    """Have `at_call` told of each system call that changes something, just before it is made."""
    real = {name: getattr(os, name) for name in CALLS}

    def seam(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            at_call(name, arguments)
            return real[name](*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, seam(name))
    try:
        yield
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def prepared(folder: Path) -> tuple[RunFolder, Path]:
    run = RunFolder(folder / "runs", "gpt_small")
    run.create()
    for step in (1, 2, 3):
        save(run, step)
    copy = folder / "copy"
    shutil.copytree(run.root, copy)
    return run, copy


def restore(run: RunFolder, copy: Path) -> None:
    shutil.rmtree(run.root)
    shutil.copytree(copy, run.root)


def kill_everywhere(folder: Path) -> int:
    """A process that vanishes at the n-th call, before it or, if it writes, half-way through it."""
    run, copy = prepared(folder)
    tried = 0
    for half in (False, True):
        for wanted in itertools.count(1):
            restore(run, copy)
            receive, send = os.pipe()
            child = os.fork()
            if child == 0:
                _die_at(run, wanted, half, send)
            os.close(send)
            announced = os.read(receive, 1) == b"!"
            os.close(receive)
            _, status = os.waitpid(child, 0)
            if os.waitstatus_to_exitcode(status) == 0:
                break
            assert os.waitstatus_to_exitcode(status) == 137
            tried += 1
            try:
                check(run, 3, 4, announced)
            except BaseException:
                print(f"killed at call {wanted}, half-way: {half}", file=sys.stderr)
                raise
    return tried


def _die_at(run: RunFolder, wanted: int, half: bool, send: int) -> None:
    seen = 0
    real_write = os.write

    def at_call(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if half and name != "write":
            return
        seen += 1
        if seen == wanted:
            if half:
                real_write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            os._exit(137)

    with calls(at_call):
        save(run, 4, lambda step: real_write(send, b"!") and None)
    os._exit(0)


def fail_everywhere(folder: Path) -> int:
    """Each error at the n-th call, once or, for calls that take space, from then on."""
    run, copy = prepared(folder)
    tried = 0
    for code, lasting in itertools.product(ERRORS, (False, True)):
        for wanted in itertools.count(1):
            restore(run, copy)
            announced: list[int] = []
            seen = 0

            def at_call(
                name: str, arguments: tuple[Any, ...], code: int = code, lasting: bool = lasting
            ) -> None:
                nonlocal seen
                if name == "close":
                    return
                seen += 1
                full = name in ("open", "write", "fsync", "mkdir")
                if seen == wanted or (lasting and seen > wanted and full):  # noqa: B023
                    raise OSError(code, os.strerror(code))

            with calls(at_call), suppress(OSError, StoreError):
                save(run, 4, announced.append)
            if seen < wanted:
                break
            tried += 1
            try:
                check(run, 3, 4, bool(announced))
            except BaseException:
                print(f"{errno.errorcode[code]} at call {wanted}, lasting: {lasting}", file=sys.stderr)
                raise
    return tried


@dataclass
class File:
    """A file on a disk that keeps only what was synced."""

    data: bytes = b""
    synced: bytes = b""


@dataclass
class Folder:
    """A folder: its entries as programs see them, and the changes since it was last synced."""

    entries: dict[str, "File | Folder"] = field(default_factory=dict)
    synced: dict[str, "File | Folder"] = field(default_factory=dict)
    changes: list[tuple[tuple[str, "File | Folder | None"], ...]] = field(default_factory=list)

    def change(self, *changes: "tuple[str, File | Folder | None]") -> None:
        """Entries set, or removed if None, in one indivisible step."""
        _apply(self.entries, changes)
        self.changes.append(changes)

    def sync(self) -> None:
        self.synced = dict(self.entries)
        self.changes.clear()


def _apply(entries: dict[str, Any], changes: tuple[tuple[str, Any], ...]) -> None:
    for name, node in changes:
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Disk:
    """Follows system calls and tells what a power loss could leave.

    The model: data of a file is sure after fsync of the file; without that none, half or all of it is there.
    Entries of a folder are sure after fsync of the folder; without that any first part of its changes is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = self._read(root)
        self.descriptors: dict[int, Path] = {}

    def _read(self, path: Path) -> Folder:
        entries: dict[str, File | Folder] = {}
        for child in path.iterdir():
            entries[child.name] = self._read(child) if child.is_dir() else self._file(child)
        return Folder(entries, dict(entries))

    @staticmethod
    def _file(path: Path) -> File:
        data = path.read_bytes()
        return File(data, data)

    def node(self, path: Path) -> "File | Folder | None":
        node: File | Folder | None = self.top
        for part in path.relative_to(self.root).parts:
            node = node.entries.get(part) if isinstance(node, Folder) else None
        return node

    def folder(self, path: Path) -> Folder:
        node = self.node(path)
        assert isinstance(node, Folder), path
        return node

    def path(self, path: Any, dir_fd: int | None) -> Path | None:
        full = self.descriptors.get(dir_fd, Path()) / path if dir_fd is not None else Path(path)
        return full if full.is_relative_to(self.root) else None

    def called(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any], result: Any) -> bool:
        """Take note of a call that was made; whether it changed anything."""
        if name in ("write", "fsync", "close"):
            return self._on_descriptor(name, arguments)
        path = self.path(arguments[0], named.get("dir_fd"))
        if path is None:
            return False
        if name == "open":
            self.descriptors[result] = path
            if self.node(path) is not None:
                return False
            self.folder(path.parent).change((path.name, File()))
        elif name == "mkdir":
            self.folder(path.parent).change((path.name, Folder()))
        elif name in ("unlink", "rmdir"):
            self.folder(path.parent).change((path.name, None))
        elif name in ("rename", "replace"):
            target = Path(arguments[1])
            assert target.parent == path.parent
            self.folder(path.parent).change((path.name, None), (target.name, self.node(path)))
        return True

    def _on_descriptor(self, name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "close":
            self.descriptors.pop(arguments[0], None)
            return False
        # Files opened by Python itself are only known by their descriptor.
        path = self.descriptors.get(arguments[0]) or Path(f"/proc/self/fd/{arguments[0]}").readlink()
        if not path.is_relative_to(self.root):
            return False
        node = self.node(path)
        if isinstance(node, Folder):
            node.sync()
        elif isinstance(node, File):
            if name == "write":
                node.data += bytes(arguments[1])
            else:
                node.synced = node.data
        return True

    def states(self) -> Iterator[dict[str, Any]]:
        """Trees that a power loss now could leave: name to bytes or tree."""
        pending = max((len(folder.changes) for folder in _folders(self.top)), default=0)
        for share in (0.0, 0.5, 1.0):
            for others in (0, pending):
                yield _left(self.top, None, 0, others, share)
            for folder in _folders(self.top):
                for first in range(1, len(folder.changes) + 1):
                    for others in (0, pending):
                        yield _left(self.top, folder, first, others, share)


def _folders(folder: Folder) -> list[Folder]:
    found = [folder]
    for node in {id(node): node for node in [*folder.entries.values(), *folder.synced.values()]}.values():
        if isinstance(node, Folder):
            found += _folders(node)
    return found


def _left(node: Folder, chosen: Folder | None, first: int, others: int, share: float) -> dict[str, Any]:
    entries = dict(node.synced)
    for change in node.changes[: first if node is chosen else others]:
        _apply(entries, change)
    tree: dict[str, Any] = {}
    for name, child in entries.items():
        if isinstance(child, Folder):
            tree[name] = _left(child, chosen, first, others, share)
        else:
            more = child.data[len(child.synced) :]
            tree[name] = child.synced + more[: int(len(more) * share)]
    return tree


def materialise(tree: dict[str, Any], path: Path) -> None:
    path.mkdir()
    for name, child in tree.items():
        if isinstance(child, dict):
            materialise(child, path / name)
        else:
            (path / name).write_bytes(child)


def lose_power_everywhere(folder: Path) -> int:
    """Every state that a power loss at any call could leave on the disk of the model."""
    run, _ = prepared(folder)
    disk = Disk(run.root)
    announced = False
    seen: set[str] = set()
    tried = 0
    real = {name: getattr(os, name) for name in CALLS}

    def note(step: int) -> None:
        nonlocal announced
        announced = True

    def after(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = real[name](*arguments, **named)
            if disk.called(name, arguments, named, result):
                examine()
            return result

        return call

    def examine() -> None:
        nonlocal tried
        for tree in disk.states():
            key = repr((announced, tree["gpt_small"]["pretrain"]["checkpoints"]))
            if key in seen:
                continue
            seen.add(key)
            tried += 1
            for name in CALLS:
                setattr(os, name, real[name])
            shutil.rmtree(folder / "after", ignore_errors=True)
            materialise(tree, folder / "after")
            step = newest(RunFolder(folder / "after", "gpt_small"))
            assert step == 4 if announced else step in (3, 4), f"resumes from {step}, announced: {announced}"
            for name in CALLS:
                setattr(os, name, after(name))

    try:
        for name in CALLS:
            setattr(os, name, after(name))
        save(run, 4, note)
    finally:
        for name in CALLS:
            setattr(os, name, real[name])
    return tried


def without(mutant: str) -> None:
    """Leave one kind of fsync out: the model must find the loss."""
    real = atomic.sync

    def only(folders: bool) -> Callable[[int], None]:
        return lambda descriptor: (
            real(descriptor) if S_ISDIR(os.fstat(descriptor).st_mode) == folders else None
        )

    if mutant == "files":
        manifest.sync = only(folders=True)
    elif mutant == "manifest":
        atomic.sync = only(folders=True)
    elif mutant == "folder":
        manifest.sync = only(folders=False)
    elif mutant == "parent":
        checkpoints.fsync_folder = lambda path: None


if __name__ == "__main__":
    if len(sys.argv) > 3:
        without(sys.argv[3])
    trials = {"kill": kill_everywhere, "error": fail_everywhere, "power": lose_power_everywhere}
    print(trials[sys.argv[2]](Path(sys.argv[1])))
