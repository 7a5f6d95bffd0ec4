"""A fine-tuned model put to use: rows in, answers out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from toolkit.engine.datasets import make_encoder
from toolkit.evals.sampling import load_task
from toolkit.models.task import Batch
from toolkit.plan.parent import Parent
from toolkit.store.errors import BadFile
from toolkit.store.manifest import Checkpoint
from toolkit.targets.registry import TARGETS
from toolkit.targets.target import Example, Form, TargetTask, Values


class Predictor:
    """The model of a fine-tune's checkpoint and the form that its rows were read in.

    Raises CorruptCheckpoint, DataError, UnknownCheckpoint, and BadFile for a model that is no fine-tune.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        task, tokenizer, plan = load_task(checkpoint, device)
        if not isinstance(task, TargetTask) or plan.parent is None:
            raise BadFile(
                checkpoint.path,
                f"holds a model for {plan.task.kind}, which predicts nothing. `tk sample` has it write",
            )
        own = Parent(plan.parent, plan.architecture, plan.data, plan.task.kind, plan.vocab_size)
        encoder = make_encoder(own, tokenizer, plan.sequence_length)
        self.task = task
        self.form: Form = TARGETS[plan.task.kind].form(plan.task, encoder, plan.sequence_length)
        self.labels = plan.labels
        self.device = device

    def row(self, text: str) -> Values:
        """The row that a line of text stands for. Raises ValueError where a row is more than that."""
        return self.form.row(text)

    def read(self, row: Values) -> Example:
        """The row as the model reads it; labels are not looked at. Raises ValueError for one that can't be read."""
        return self.form.question(row, self.labels)

    @torch.inference_mode()
    def predict(self, rows: Sequence[Values], examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Answers to some rows, as one batch."""
        batch = collate(examples, self.form.fill)
        answers = self.task.predict({name: tensor.to(self.device) for name, tensor in batch.items()})
        return [self.form.present(row, answer) for row, answer in zip(rows, answers, strict=True)]


def collate(examples: Sequence[Example], fill: Mapping[str, int]) -> Batch:
    """Rows as one batch, lists filled up on the right; `lengths` counts what is real of `inputs`."""
    batch: dict[str, torch.Tensor] = {}
    for name, first in examples[0].fields.items():
        values = [example.fields[name] for example in examples]
        if not isinstance(first, list):
            batch[name] = torch.from_numpy(np.stack([np.asarray(value) for value in values]))
            continue
        lengths = [len(value) for value in values]
        padded = np.full((len(values), max(lengths)), fill.get(name, 0), np.int64)
        for place, value in enumerate(values):
            padded[place, : len(value)] = value
        batch[name] = torch.from_numpy(padded)
        if name == "inputs":
            batch["lengths"] = torch.tensor(lengths)
    return batch
