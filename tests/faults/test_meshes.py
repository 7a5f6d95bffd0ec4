"""However the ranks divide the work among them, the losses are those of one process."""

import pytest
from harness import Bench, farthest

pytestmark = pytest.mark.slow
SHORT = ("train.duration=16 steps", "run.evaluate_every=8 steps")
BOUNDS = {"adamw": 1e-6, "muon": 1e-3}
"""Muon orthogonalises in bfloat16, which turns differences of 1e-7 in the gradients into larger ones."""
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.long)])


def follows(bench: Bench, optimizer: str, ranks: int, *parallel: str) -> None:
    """Whether a run of so many ranks follows that of one process, which all tests share."""
    kind = f"train.optimizer.kind={optimizer}"
    if not bench.folder_of(optimizer).exists():
        bench.run(optimizer, *SHORT, kind)
    name = "-".join([optimizer, str(ranks), *parallel]).replace("=", "-")
    bench.run(name, *SHORT, kind, "--nproc", str(ranks), *(f"run.parallel.{key}" for key in parallel))
    for tag, share in (("train/loss", 1), ("val/loss", 1), ("train/grad_norm", 10)):
        assert farthest(bench, optimizer, name, tag) < share * BOUNDS[optimizer], tag


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
