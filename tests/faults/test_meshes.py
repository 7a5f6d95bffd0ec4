"""However the ranks divide the work among them, the losses and the weights are those of one process."""

import signal

import pytest
from harness import Bench, farthest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow
SHORT = ("train.duration=16 steps", "run.evaluate_every=8 steps")
BOUNDS = {"adamw": (1e-6, 1e-4), "muon": (1e-3, 2e-2)}
"""Of the losses, relative, and of the weights. Muon orthogonalises in bfloat16, which turns differences of 1e-7 in
the gradients into larger ones."""
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.long)])


def alone(bench: Bench, optimizer: str) -> str:
    """A run on one process, which all tests share."""
    if not bench.folder_of(optimizer).exists():
        bench.run(optimizer, *SHORT, f"train.optimizer.kind={optimizer}")
    return optimizer


def follows(bench: Bench, optimizer: str, ranks: int, *parallel: str) -> None:
    """Whether a run of so many ranks follows that of one process."""
    name = "-".join([optimizer, str(ranks), *parallel]).replace("=", "-")
    asked = [f"run.parallel.{key}" for key in parallel]
    bench.run(name, *SHORT, f"train.optimizer.kind={optimizer}", "--nproc", str(ranks), *asked)
    compare(bench, optimizer, alone(bench, optimizer), name)


def compare(bench: Bench, optimizer: str, expected: str, name: str) -> None:
    losses, weights = BOUNDS[optimizer]
    for tag, share in (("train/loss", 1), ("val/loss", 1), ("train/grad_norm", 10)):
        assert farthest(bench, expected, name, tag) < share * losses, tag
    there = bench.final(name)
    for key, tensor in bench.final(expected).items():
        assert (there[key] - tensor).abs().max() < weights, key


@OPTIMIZERS
def test_blocks_computed_again_in_whole_copies(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "replicate=2", "activation_checkpointing=true")


@pytest.mark.long
@OPTIMIZERS
def test_blocks_computed_again_in_shards(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "activation_checkpointing=true")


@pytest.mark.long
@OPTIMIZERS
def test_whole_copies(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "replicate=2")


@pytest.mark.long
@OPTIMIZERS
def test_copies_in_shards(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 4, "replicate=2")


@OPTIMIZERS
def test_divided_blocks(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "tensor=2")


@pytest.mark.long
@OPTIMIZERS
def test_divided_blocks_in_shards(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 4, "tensor=2", "activation_checkpointing=true")


@pytest.mark.long
@OPTIMIZERS
def test_copies_of_divided_blocks(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 4, "tensor=2", "replicate=2")


@pytest.mark.long
@OPTIMIZERS
def test_a_run_goes_on_however_it_is_divided(shared: Bench, optimizer: str) -> None:
    kind, name, tensor = f"train.optimizer.kind={optimizer}", f"{optimizer}-mixed", "run.parallel.tensor=2"
    shared.run(f"{optimizer}-long", kind)
    ways = [("--nproc", "2", tensor), (), ("--nproc", "2", tensor), ("--nproc", "2")]
    for step, way in zip((10, 20, 30, 40), ways, strict=True):
        process = shared.start(name, kind, *way)
        shared.wait_for_step(name, step, process)
        process.send_signal(signal.SIGTERM)
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 75, printed
    shared.run(name, kind, "--nproc", "4", tensor)
    compare(shared, optimizer, f"{optimizer}-long", name)
    exported = shared.folder / f"{name}-exported"
    shared.tk("verify", name)
    shared.tk("export", name, str(exported))
    total = sum(tensor.numel() for tensor in load_file(exported / "model.safetensors").values())
    assert total == sum(t.numel() for key, t in shared.final(name).items() if "optimizer/" not in key)
