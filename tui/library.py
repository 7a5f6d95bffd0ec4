"""The runs under a folder, kept up to date from their files: runs of tk, and any folder of event files."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from toolkit.store.runs import RunFolder, find_runs
from tui.queue import Queue
from tui.watched import Watched

DEPTH = 8
FOLDERS = 20_000
"""How deep, and at how many folders, logs are looked for."""
TICK = 1.0
WALK = 3.0
"""Seconds between two looks for new runs."""
SHARE = 0.1
"""Of the time may go into looking: on a slow file system there are fewer looks."""
LONGEST_PAUSE = 10.0
FIRST_LOOK = 0.2
"""Seconds after which what was read so far is shown."""


class Library:
    """The runs under `root`, or the one run that it is. One thread polls; others read.

    Args:
        root: A runs folder, the folder of a name or of one run, or any folder with event files below it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: dict[str, Watched] = {}
        self.queue = Queue()
        self._walked = 0.0
        self._walk_cost = 0.0
        self._found = 0
        """Runs so far, those that are gone again included: no two have one colour for that."""

    @property
    def folders(self) -> list[RunFolder]:
        """The runs that are tk's."""
        return [run.folder for run in list(self.runs.values()) if run.folder is not None]

    @property
    def runs_root(self) -> Path:
        """The runs folder that the runs are in: `root` may be one of them."""
        return next((folder.root for folder in self.folders), self.root)

    @property
    def active(self) -> list[Watched]:
        """Runs that somebody works on."""
        return [run for run in list(self.runs.values()) if run.active]

    def list(self) -> bool:
        """Look for runs that came or went, and read where each stands; whether anything changed."""
        changed = False
        began = time.perf_counter()
        if time.monotonic() - self._walked >= max(WALK, self._walk_cost / SHARE) or not self.runs:
            found = {name: (path, folder) for name, path, folder in _find(self.root)}
            for name in [name for name in self.runs if name not in found]:
                del self.runs[name]
                changed = True
            for name, (path, folder) in found.items():
                if name not in self.runs:
                    self.runs[name] = Watched(name, path, folder, number=self._found)
                    self._found += 1
                    changed = True
            self._walked = time.monotonic()
            self._walk_cost = time.perf_counter() - began
        for run in list(self.runs.values()):
            parent = self.runs.get((run.parent or "").partition("@")[0]) if run.plan or run.spec else None
            waits = parent is not None and parent is not run and parent.health.condition != "finished"
            run.waits_for = parent.name if parent is not None and waits else None
            run.job = self.queue.jobs.get(run.folder) if run.folder is not None else None
            changed |= run.look()
        return changed

    def read(self, pause: Callable[[], None] = lambda: None) -> bool:
        """Read what is new in the event files; whether there was anything. `pause` is called between runs."""
        changed = False
        # What is running is what somebody waits to see.
        for run in sorted(self.runs.values(), key=lambda run: not run.active):
            changed |= run.read()
            pause()
        return changed


class Watcher(threading.Thread):
    """Polls a library once a second, and tells of changes."""

    def __init__(self, library: Library, tell: Callable[[], None]) -> None:
        super().__init__(name="watcher", daemon=True)
        self.library = library
        self._tell = tell
        self.also: Callable[[bool], bool] = lambda changed: False
        """Called at each look, with whether the runs changed; whether something else did."""
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.done_first = threading.Event()
        """Set once everything was read for the first time."""

    def run(self) -> None:
        shown = time.monotonic()

        def show_partly() -> None:
            nonlocal shown
            if self._stop.is_set():
                raise SystemExit
            if time.monotonic() - shown > FIRST_LOOK and not self.done_first.is_set():
                shown = time.monotonic()
                self._tell()

        while not self._stop.is_set():
            began = time.monotonic()
            changed = self.library.list()
            self.library.queue.refresh(self.library.folders)
            if changed and not self.done_first.is_set():
                self._tell()
            changed |= self.library.read(show_partly)
            first = not self.done_first.is_set()
            self.done_first.set()
            if changed or first:
                self._tell()
            if self.also(changed):
                self._tell()
            cost = time.monotonic() - began
            self._wake.wait(min(max(TICK - cost, cost / SHARE, 0.05), LONGEST_PAUSE) if not first else TICK)
            self._wake.clear()

    def look_now(self) -> None:
        """Poll without waiting for the second to be over."""
        self._wake.set()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()


def _find(root: Path) -> Iterator[tuple[str, Path, RunFolder | None]]:
    """Name, folder, and the run where it is one of tk's."""
    known: set[Path] = set()
    for folder in _runs_of_tk(root):
        known.add(folder.path)
        yield str(folder), folder.path, folder
    if known and all(path == root for path in known):
        return
    for path in _with_events(root, known):
        relative = path.relative_to(root)
        yield str(relative) if relative.parts else root.absolute().name, path, None


def _runs_of_tk(root: Path) -> Iterator[RunFolder]:
    whole = root.absolute()
    if (whole / "status.json").is_file() or (whole / "events.jsonl").is_file():
        # One run was named: its root is two folders up.
        for folder in find_runs(whole.parent.parent):
            if folder.path == whole:
                yield RunFolder(whole.parent.parent, folder.name, folder.stage)
        return
    found = list(find_runs(root))
    if not found and whole.parent.is_dir():
        found = [folder for folder in find_runs(whole.parent) if folder.path.parent == whole]
    yield from found


def _with_events(root: Path, known: set[Path]) -> Iterator[Path]:
    """Folders with event files that belong to none of the runs, nearest first."""
    waiting = [(root, 0)]
    seen = 0
    while waiting and seen < FOLDERS:
        folder, depth = waiting.pop(0)
        seen += 1
        below, has_events = [], False
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if "tfevents" in entry.name:
                        has_events = has_events or entry.is_file()
                    elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        below.append(Path(entry.path))
        except OSError:
            continue
        if has_events and folder not in known:
            yield folder
        if depth < DEPTH:
            waiting += [(path, depth + 1) for path in sorted(below) if path not in known]
