"""However the ranks divide the work among them, the losses and the weights of real runs are those of one process.

`tests/engine/test_meshes.py` tries the same in a few steps.
"""

import signal

import pytest
from harness import Bench, farthest
from safetensors.torch import load_file

pytestmark = pytest.mark.long
SHORT = ("train.duration=16 steps", "run.evaluate_every=8 steps")
BOUNDS = {"adamw": (1e-6, 1e-4), "muon": (1e-3, 5e-2)}
"""Of the losses, relative, and of the norm of a tensor's difference, relative for norms above 1. Muon orthogonalises
in bfloat16, which turns differences of 1e-7 in the gradients into larger ones: 2 % of a matrix after 60 steps."""
NARROW = ("run.precision=bfloat16",)
ROUNDED = (1e-4, 2e-3)
"""Where weights travel in bfloat16."""
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["adamw", "muon"])


def alone(bench: Bench, optimizer: str, *given: str) -> str:
    """A run on one process, which all tests share."""
    name = "-".join([optimizer, *given]).replace("=", "-")
    if not bench.folder_of(name).exists():
        bench.run(name, *SHORT, f"train.optimizer.kind={optimizer}", *given)
    return name


def follows(
    bench: Bench,
    optimizer: str,
    ranks: int,
    *parallel: str,
    given: tuple[str, ...] = (),
    bounds: tuple[float, float] | None = None,
) -> None:
    """Whether a run of so many ranks follows that of one process."""
    name = "-".join([optimizer, str(ranks), *parallel, *given]).replace("=", "-")
    asked = [f"run.parallel.{key}" for key in parallel]
    bench.run(name, *SHORT, f"train.optimizer.kind={optimizer}", "--nproc", str(ranks), *asked, *given)
    compare(bench, bounds or BOUNDS[optimizer], alone(bench, optimizer, *given), name)


def compare(bench: Bench, bounds: tuple[float, float], expected: str, name: str) -> None:
    losses, weights = bounds
    for tag, share in (("train/loss", 1), ("val/loss", 1), ("train/grad_norm", 10)):
        assert farthest(bench, expected, name, tag) < share * losses, tag
    there = bench.final(name)
    for key, tensor in bench.final(expected).items():
        assert (there[key] - tensor).norm() < weights * max(1.0, float(tensor.norm())), key


@OPTIMIZERS
def test_blocks_computed_again_in_whole_copies(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "replicate=2", "activation_checkpointing=true")


@OPTIMIZERS
def test_blocks_computed_again_in_shards(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "activation_checkpointing=true")


@OPTIMIZERS
def test_whole_copies(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "replicate=2")


@OPTIMIZERS
def test_copies_in_shards(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 4, "replicate=2")


@OPTIMIZERS
def test_divided_blocks(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 2, "tensor=2")


@OPTIMIZERS
def test_divided_blocks_in_shards(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 4, "tensor=2", "activation_checkpointing=true")


@OPTIMIZERS
def test_copies_of_divided_blocks(shared: Bench, optimizer: str) -> None:
    follows(shared, optimizer, 4, "tensor=2", "replicate=2")


@pytest.mark.parametrize("parallel", ["shard=2", "tensor=2"])
def test_compiled_blocks(shared: Bench, parallel: str) -> None:
    """Without dropout, which compiled code draws otherwise."""
    follows(shared, "adamw", 2, parallel, given=("run.compile=on", "model.dropout=0"))


def test_weights_that_travel_in_bfloat16(shared: Bench) -> None:
    follows(shared, "adamw", 2, "gather=float32", given=NARROW)
    follows(shared, "adamw", 2, "gather=bfloat16", given=NARROW, bounds=ROUNDED)


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
    compare(shared, BOUNDS[optimizer], f"{optimizer}-long", name)
    exported = shared.folder / f"{name}-exported"
    shared.tk("verify", name)
    shared.tk("export", name, str(exported))
    total = sum(tensor.numel() for tensor in load_file(exported / "model.safetensors").values())
    assert total == sum(t.numel() for key, t in shared.final(name).items() if "optimizer/" not in key)
