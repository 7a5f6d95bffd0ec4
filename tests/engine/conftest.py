"""A run small enough to be carried out many times."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toolkit.engine.job import Job
from toolkit.spec.load import load_spec

SPEC = """
name = "tiny"
seed = 3

[data]
sequence_length = 32
validation = 0.2
tokenizer = {{ kind = "bytes" }}
sources = [{{ kind = "files", path = "{folder}" }}]

[model]
kind = "gpt"
n_layers = 2
d_model = 32
n_heads = 2
dropout = 0.1

[objective]
kind = "causal_lm"

[train]
duration = "{steps} steps"
batch = "4 rows"
clip = 1.0

[run]
micro_batch = 2
checkpoint_every = "7 steps"
evaluate_every = "10 steps"
sample_every = "50 steps"
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of small files with some regularity to learn."""
    folder = tmp_path / "texts"
    folder.mkdir()
    rng = random.Random(0)
    words = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit"]
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(" ".join(rng.choices(words, k=60)) + f" {number}\n")
    return folder


@pytest.fixture
def make_job(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes jobs of the tiny spec: make_job(name, steps, *overrides)."""
    monkeypatch.setenv("TK_CACHE", str(tmp_path / "cache"))

    def make(name: str = "tiny", steps: int = 60, *overrides: str) -> Job:
        path = tmp_path / f"{name}.toml"
        path.write_text(SPEC.format(folder=texts, steps=steps))
        loaded = load_spec(path, [f"name={name}", *overrides])
        return Job(root=tmp_path / "runs", name=name, spec=loaded.spec, text=loaded.text.decode())

    return make


@pytest.fixture
def attempts(tmp_path: Path) -> Callable[..., tuple[list[str], str]]:
    """Carries out a job until an attempt ends unsignalled: the outcomes, and what was printed."""

    def carry_out(
        job: Job, *, seed: int = 0, signals: int = 0, longest: float = 1.0, signal: str = "SIGKILL"
    ) -> tuple[list[str], str]:
        file = tmp_path / f"{job.name}.json"
        file.write_text(job.model_dump_json())
        driver = Path(__file__).with_name("attempts.py")
        command = [sys.executable, str(driver), str(file), str(seed), str(signals), str(longest), signal]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        return done.stdout.split(), done.stderr

    return carry_out


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the workers started from now on spoil the gradients of batches: poison("12=nan,33=1e6")."""
    folder = tmp_path / "poison"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("poison.py"), folder / "sitecustomize.py")

    def set_up(batches: str) -> None:
        monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path(__file__).parents[2]}")
        monkeypatch.setenv("TK_TEST_POISON", batches)

    return set_up
