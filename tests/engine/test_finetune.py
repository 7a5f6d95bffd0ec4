"""Fine-tunes: what is frozen costs nothing, and a killed one comes out as an uninterrupted one does, bit for bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.conftest import SPEC
from toolkit.engine.attempt import make_trainer
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.hardware import Hardware
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.job import Job
from toolkit.engine.stage import carry_out
from toolkit.engine.supervisor import worker_environment
from toolkit.engine.trainer import Trainer
from toolkit.plan.machine import Machine
from toolkit.plan.parents import find_parent, find_parent_checkpoint
from toolkit.plan.plan import Plan, make_plan
from toolkit.spec.load import load_spec
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.runs import RunFolder

TARGET = """
[finetune.{name}]
kind = "classify"
tune = {{ kind = "{tune}" }}
data = {{ kind = "files", path = "{rows}" }}
duration = "{steps} steps"
batch = "8 rows"
"""
STEPS = 60
MakeStage = Callable[..., Job]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStage]:
    """A small trunk, pretrained; stages(name) is the job of a fine-tune of it: lora, lora2, head, head2."""
    folder = tmp_path_factory.mktemp("stages")
    rng = random.Random(0)
    words = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit"]
    (folder / "texts").mkdir()
    rows = folder / "rows.jsonl"
    with rows.open("w") as file:
        for number in range(120):
            drawn = rng.choices(words, k=30)
            (folder / "texts" / f"{number:03}.txt").write_text(f"{' '.join(drawn)} {number}")
            row = {"text": " ".join(drawn[: rng.randint(1, 3)]), "label": drawn[0]}
            file.write(json.dumps(row) + "\n")
    targets = [
        TARGET.format(name=f"{tune}{suffix}", tune=tune, rows=rows, steps=STEPS)
        for tune in ("lora", "head")
        for suffix in ("", "2")
    ]
    spec = folder / "small.toml"
    spec.write_text(SPEC.format(folder=folder / "texts", steps=8) + "".join(targets))
    loaded = load_spec(spec, ["name=small", "run.precision=bfloat16", "run.evaluate_every=1000 steps"])

    def job(stage: str) -> Job:
        text = loaded.text.decode()
        return Job(root=folder / "runs", name="small", stage=stage, spec=loaded.spec, text=text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TK_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        assert carry_out(job("pretrain"), Interrupts()) == 0
        yield job


def work(job: Job, *, until_saved: bool = False) -> int:
    """The status of a worker; `until_saved` kills it as soon as its run has a checkpoint."""
    environment = worker_environment({**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    worker = subprocess.Popen(
        [sys.executable, "-m", "toolkit.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    assert worker.stdin is not None
    worker.stdin.write(job.model_dump_json().encode())
    worker.stdin.close()
    while until_saved and worker.poll() is None:
        if any(job.run.checkpoints.glob("step-*")):
            worker.kill()
        time.sleep(0.001)
    return worker.wait(timeout=200)


def state(job: Job) -> dict[str, torch.Tensor]:
    """Weights and optimizer of the last checkpoint, which must be the last step's."""
    last = CheckpointStore(job.run).resolve("last")
    assert last.step == STEPS
    parts = {part: load_file(last.path / f"{part}.safetensors") for part in ("weights", "optimizer")}
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["lora", pytest.param("head", marks=pytest.mark.long)])
def test_a_killed_fine_tune_equals_a_whole_one(stages: MakeStage, tune: str) -> None:
    whole, killed = stages(tune), stages(f"{tune}2")
    assert work(whole) == 0
    assert work(killed, until_saved=True) == -signal.SIGKILL
    assert work(killed) == 0
    resumed = [event["step"] for event in read_events(killed.run) if event["kind"] == "resumed"]
    assert resumed
    assert 0 < resumed[0] < STEPS
    expected, got = state(whole), state(killed)
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    # Rows of three tokens need fewer kernels than the plan counts on; more than planned is what must not be.
    assert 0.6 < peak_over_plan(whole) < 1.15
    best = [CheckpointStore(job.run).resolve("last").metrics["val/accuracy"] for job in (whole, killed)]
    assert best[0] == best[1]


def peak_over_plan(job: Job) -> float:
    """Measured peak memory over the planned one."""
    actual = next(event["actual"] for event in read_events(job.run) if event["kind"] == "finished")
    return float(actual["peak_memory"]) / Plan.model_validate_json(job.run.plan.read_bytes()).memory.total


def make(job: Job) -> Trainer:
    parent = find_parent(job.spec, job.stage, root=job.root)
    base = find_parent_checkpoint(RunFolder(job.root, "small"), None, parent.record.fingerprint)
    dataset = prepare_stage(job.spec, job.stage, parent, base)
    plan = make_plan(job.spec, job.stage, machine=Machine.detect(), parent=parent, facts=dataset.facts)
    trainer = make_trainer(plan, Hardware.of(plan), dataset, base)
    rows = dataset.train.rows(0, 0, plan.micro_batch, seed=plan.seed, batch_rows=plan.batch_rows)
    trainer.task.train()
    trainer.task(trainer.batch(rows)).total.backward()
    return trainer


@pytest.mark.parametrize("tune", ["lora", pytest.param("head", marks=pytest.mark.long)])
def test_frozen_weights_hold_no_gradient_and_no_optimizer_state(stages: MakeStage, tune: str) -> None:
    trainer = make(stages(tune))
    moving = {name for name, weight in trainer.task.named_parameters() if weight.requires_grad}
    own = {"score.weight"}
    assert own < moving if tune == "lora" else moving == own
    assert all("lora" in name for name in moving - own)
    with_gradient = {name for name, weight in trainer.task.named_parameters() if weight.grad is not None}
    assert with_gradient == moving
    trainer.optimizers.step()
    sizes = sum(weight.numel() for weight in trainer.task.parameters() if weight.requires_grad)
    assert sizes == trainer.plan.trainable
    held = sum(tensor.numel() for _, tensor in trainer.optimizers.state() if tensor.ndim)
    assert held == 2 * sizes, "two moments of what moves, and nothing of the rest"
    assert set(trainer.weights()) == moving, "saved alone"
