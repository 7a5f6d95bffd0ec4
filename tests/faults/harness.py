"""Real runs of a tiny spec, from outside: started as a user does, disturbed, resumed and compared."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from toolkit.engine.tensors import OPTIMIZER, WEIGHTS, read_tensors
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.heartbeat import Heartbeat, read_heartbeats
from toolkit.store.runs import RunFolder
from toolkit.store.tail import read_scalars

ROOT = Path(__file__).parents[2]
SPEC = """\
name = "tiny"
seed = 3

[data]
sequence_length = 32
validation = 0.2
tokenizer = {{ kind = "bytes" }}
sources = [{{ kind = "files", path = "{folder}/texts" }}]

[model]
kind = "gpt"
n_layers = 2
d_model = 32
n_heads = 2
dropout = 0.1

[objective]
kind = "causal_lm"

[train]
duration = "60 steps"
batch = "8 rows"
clip = 1.0

[run]
device = "cpu"
precision = "float32"
micro_batch = 2
checkpoint_every = "5 steps"
evaluate_every = "20 steps"
sample_every = "1000 steps"
"""


class Bench:
    """A folder with texts, a spec and runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        texts = folder / "texts"
        texts.mkdir(parents=True)
        rng = random.Random(0)
        words = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit"]
        for number in range(40):
            (texts / f"{number:02}.txt").write_text(" ".join(rng.choices(words, k=60)) + f" {number}\n")
        self.spec = folder / "tiny.toml"
        self.spec.write_text(SPEC.format(folder=folder))
        self.runs = folder / "runs"
        self.cold = False
        """Whether the data has to be prepared anew."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TK_", "SLURM_"))},
            "PYTHONPATH": str(ROOT),
            "TK_RUNS": str(self.runs),
            "TK_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "toolkit", *arguments]

    def start(self, name: str, *arguments: str) -> "subprocess.Popen[str]":
        """`tk run` of the spec under this name."""
        return self.start_with((sys.executable, "-m", "toolkit"), name, *arguments)

    def start_with(self, tk: tuple[str, ...], name: str, *arguments: str) -> "subprocess.Popen[str]":
        """The same, with another command in the place of `tk`."""
        return subprocess.Popen(
            [*tk, "run", str(self.spec), "--as", name, *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, name: str, *arguments: str, status: int = 0) -> str:
        """The same, to its end; what it printed."""
        process = self.start(name, *arguments)
        printed, _ = process.communicate(timeout=240)
        assert process.returncode == status, f"exit status {process.returncode}\n{printed}"
        return printed

    def tk(self, *arguments: str, status: int | None = 0) -> str:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def folder_of(self, name: str) -> RunFolder:
        return RunFolder(self.runs, name)

    def events(self, name: str, kind: str) -> list[dict[str, object]]:
        return [event for event in read_events(self.folder_of(name)) if event["kind"] == kind]

    def rank(self, name: str, rank: int) -> Heartbeat:
        return next(beat for beat in read_heartbeats(self.folder_of(name)) if beat.rank == rank)

    def wait_for_step(self, name: str, step: int, process: "subprocess.Popen[str]") -> None:
        """Until the run has done that many steps. Fails if it ends before."""
        wait_until(lambda: process.poll() is not None or self._step(name) >= step)
        assert process.poll() is None, process.communicate()[0]

    def _step(self, name: str) -> int:
        events = self.folder_of(name).path.glob("events.out.tfevents.*")
        if not any(events):
            return 0
        steps = read_scalars(self.folder_of(name).path).get("train/loss")
        return int(steps.steps[-1]) if steps is not None and len(steps.steps) else 0

    def final(self, name: str) -> dict[str, Tensor]:
        """Weights and optimizer state of the last checkpoint, verified."""
        store = CheckpointStore(self.folder_of(name))
        last = store.resolve("last")
        store.verify(last)
        weights, optimizer = read_tensors(last.path, WEIGHTS), read_tensors(last.path, OPTIMIZER)
        return weights | {f"optimizer/{key}": value for key, value in optimizer.items()}

    def curves(self, name: str) -> dict[str, list[tuple[int, float]]]:
        """Every metric that the computation decides, by step."""
        return {
            tag: [(int(s), float(v)) for s, v in zip(found.steps, found.values, strict=True)]
            for tag, found in read_scalars(self.folder_of(name).path).items()
            if tag.startswith(("train/", "val/"))
        }

    def assert_equal(self, name: str, expected: str) -> None:
        """Bit for bit: weights, optimizer state, curves."""
        assert differing(self.final(expected), self.final(name)) == []
        assert self.curves(expected) == self.curves(name)


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    names = one.keys() | other.keys()
    return sorted(
        name
        for name in names
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )


def farthest(bench: Bench, one: str, other: str, tag: str) -> float:
    """The largest relative difference of a metric over the steps."""
    expected, found = bench.curves(one)[tag], bench.curves(other)[tag]
    assert [step for step, _ in expected] == [step for step, _ in found]
    return max(abs(a - b) / abs(a) for (_, a), (_, b) in zip(expected, found, strict=True))


def wait_until(found: Callable[[], object], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process is there, and not only what is left until its parent looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
