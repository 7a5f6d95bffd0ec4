"""A frozen trunk's vectors, computed once: what a linear probe learns from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from toolkit.data.dataset import Arrays, Dataset
from toolkit.data.examples import Examples, ExampleSplit
from toolkit.engine.trainer import Trainer
from toolkit.targets.target import PooledTask


@dataclass(frozen=True, eq=False)
class Features(Examples):
    """Rows whose inputs are replaced by the trunk's vectors, (rows, d_model) float32."""

    vectors: NDArray[np.float32]

    def gather(self, numbers: NDArray[np.int64], fill: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        rows = {
            name: np.array(self._map(name, kind, shape)[numbers])
            for name, (kind, shape) in self.index.fields.items()
            if shape is not None and name != "inputs"
        }
        return {"features": self.vectors[numbers], **rows}

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.zeros(self.index.rows, np.int64)


def with_features(dataset: Dataset, trainer: Trainer, between: Callable[[int, int], None]) -> Dataset:
    """The data set with the trunk's vectors in place of its inputs. `between` is told (rows done, rows in all)."""
    total, done = dataset.train.n_rows + dataset.validation.n_rows, 0
    splits = []
    for split in (dataset.train, dataset.validation):
        assert isinstance(split, ExampleSplit)
        vectors = np.zeros((split.examples.index.rows, trainer.task.trunk.d_model), np.float32)
        by_length = split.chosen[np.argsort(split.lengths, kind="stable")]
        for start in range(0, len(by_length), trainer.plan.micro_batch):
            numbers = by_length[start : start + trainer.plan.micro_batch]
            vectors[numbers] = _vectors(trainer, split.examples.gather(numbers, split.fill))
            done += len(numbers)
            between(done, total)
        frozen = Features(split.examples.folder, split.examples.index, vectors)
        splits.append(replace(split, examples=frozen))
    return replace(dataset, train=splits[0], validation=splits[1])


@torch.inference_mode()
def _vectors(trainer: Trainer, rows: Arrays) -> NDArray[np.float32]:
    assert isinstance(trainer.task, PooledTask)
    trainer.task.eval()
    vectors: NDArray[np.float32] = trainer.task.features(trainer.batch(rows)).float().cpu().numpy()
    return vectors
