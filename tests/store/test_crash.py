from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

HARNESS = Path(__file__).with_name("crash_harness.py")
Start = Callable[..., "Popen[str]"]


@pytest.mark.parametrize(("trial", "at_least"), [("kill", 60), ("error", 240), ("power", 25)])
def test_a_save_survives_trouble_at_every_call(
    tmp_path: Path, python: Start, trial: str, at_least: int
) -> None:
    process = python(HARNESS, tmp_path, trial)
    printed, _ = process.communicate()
    assert process.returncode == 0
    assert int(printed) >= at_least


@pytest.mark.parametrize("mutant", ["files", "manifest", "folder", "parent"])
def test_the_power_loss_model_notices_a_missing_fsync(tmp_path: Path, python: Start, mutant: str) -> None:
    process = python(HARNESS, tmp_path, "power", mutant)
    process.communicate()
    assert process.returncode == 1
