"""`tk` as a user types it, and one small run that was carried out."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = """\
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

[objective]
kind = "causal_lm"

[train]
duration = "30 steps"
batch = "4 rows"

[run]
device = "cpu"
precision = "float32"
checkpoint_every = "10 steps"
evaluate_every = "10 steps"
prompts = ["lorem"]
"""


class Desk:
    """A folder with a spec and texts, and `tk` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.printed = ""
        """What the run printed, once there is one."""
        texts = folder / "texts"
        texts.mkdir()
        rng = random.Random(0)
        words = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit"]
        for number in range(40):
            (texts / f"{number:02}.txt").write_text(" ".join(rng.choices(words, k=60)) + f" {number}\n")
        self.spec = folder / "tiny.toml"
        self.spec.write_text(SPEC.format(folder=texts))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name not in ("TK_DEBUG", "NO_COLOR")},
            "PYTHONPATH": str(ROOT),
            "TK_RUNS": "runs",
            "TK_CACHE": str(self.folder / "cache"),
            # Two threads on a busy machine wait for each other longer than they compute.
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
        }

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "toolkit", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def tk(self, *arguments: str | Path, status: int = 0) -> str:
        """What the command prints, both streams; it must exit with `status`."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, f"exit status {process.returncode}\n{out}\n{err}"
        return out + err


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Before anything was run."""
    return Desk(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """After `tk run tiny.toml`. Tests leave the run as it is."""
    desk = Desk(tmp_path_factory.mktemp("finished"))
    desk.printed = desk.tk("run", "tiny.toml")
    return desk
