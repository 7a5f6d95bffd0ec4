"""What a run came to, to compare bit for bit."""

import torch

from toolkit.engine.job import Job
from toolkit.engine.tensors import OPTIMIZER, WEIGHTS, read_tensors
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.tail import read_scalars

EXACT = ("train/", "val/")


def final(job: Job) -> dict[str, torch.Tensor]:
    last = CheckpointStore(job.run).resolve("last")
    assert last.step == job.spec.train.duration.value
    tensors = read_tensors(last.path, WEIGHTS)
    return tensors | {f"optimizer/{k}": v for k, v in read_tensors(last.path, OPTIMIZER).items()}


def curves(job: Job) -> dict[str, list[tuple[int, float]]]:
    series = read_scalars(job.run.path)
    return {
        tag: [(int(s), float(v)) for s, v in zip(found.steps, found.values, strict=True)]
        for tag, found in series.items()
        if tag.startswith(EXACT)
    }


def assert_equal(one: Job, other: Job) -> None:
    """Weights, optimizer state, curves."""
    expected, got = final(one), final(other)
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    assert curves(one) == curves(other)
