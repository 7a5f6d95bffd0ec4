import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory

import pytest

HARNESS = Path(__file__).with_name("crash_harness.py")
MEMORY = Path("/dev/shm")
Start = Callable[..., "Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: thousands of fsyncs take a minute on a busy disk."""
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path) as name:
        yield Path(name)


@pytest.mark.parametrize(("trial", "at_least"), [("kill", 60), ("error", 240), ("power", 25)])
def test_a_save_survives_trouble_at_every_call(
    folder: Path, python: Start, trial: str, at_least: int
) -> None:
    process = python(HARNESS, folder, trial)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert int(printed) >= at_least


@pytest.mark.parametrize("mutant", ["files", "manifest", "folder", "parent"])
def test_the_power_loss_model_notices_a_missing_fsync(folder: Path, python: Start, mutant: str) -> None:
    process = python(HARNESS, folder, "power", mutant)
    process.communicate()
    assert process.returncode == 1
