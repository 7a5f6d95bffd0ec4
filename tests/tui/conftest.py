"""A folder of runs in several conditions, the same at every time."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from worlds import LiveRun, world

from tui.library import Library
from tui.plot.raster import Marker
from tui.state import Desk


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's settings nor the place on earth, nor the order of tests, show on a screen."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    for name in ("curves._drawn", "runs._rows", "log._tails"):
        module, _, variable = name.partition(".")
        loaded = sys.modules.get(f"tui.pages.{module}")
        if loaded is not None:
            getattr(loaded, variable).clear()


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveRun]:
    """The run that is running, in a world of others."""
    monkeypatch.chdir(tmp_path)
    run = world(Path("runs"))
    yield run
    run.close()


@pytest.fixture
def desk(live: LiveRun) -> Desk:
    """A dashboard of that world, everything read."""
    return look(Path("runs"))


def look(root: Path, marker: Marker = "braille") -> Desk:
    library = Library(root)
    library.list()
    library.read()
    library.list()
    return Desk(library, marker=marker)
