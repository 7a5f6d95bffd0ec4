"""One label a row, out of two or more."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F

from toolkit.models.task import Batch, Criterion, Loss, Report
from toolkit.targets.pictures import confusion_picture
from toolkit.targets.target import Example, Form, PooledTask, Values, field_of

CALIBRATION_BINS = 15
"""Of the expected calibration error (Guo 2017)."""


class ClassifyForm(Form):
    """The input and the number of the label."""

    keys = frozenset({"input_key", "label_key", "labels"})

    def labels(self, rows: Iterable[Values]) -> tuple[str, ...]:
        if self.section.labels:
            return tuple(self.section.labels)
        key = self.section.label_key
        # What is no label at all is for `example` to refuse, which knows whether to pass over it.
        found = {str(row[key]) for row in rows if isinstance(row.get(key), str | int)}
        if len(found) < 2:
            raise ValueError(f'field "{key}" holds {len(found)} different labels; two or more are needed')
        numbers = all(label.removeprefix("-").isdecimal() for label in found)
        return tuple(sorted(found, key=int if numbers else None))

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        label = as_label(field_of(row, self.section.label_key))
        if label not in labels:
            raise ValueError(f'label "{label}" is not one of: {", ".join(labels[:20])}')
        encoded, _ = self.read(row)
        return Example({**encoded.fields, "label": labels.index(label)}, cut=encoded.cut)


def as_label(value: Any) -> str:
    """A label as text. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"a label is text or a whole number, not {type(value).__name__}")  # noqa: TRY004 - of the row
    return str(value)


class ClassifyTask(PooledTask):
    """Cross-entropy over the classes. Batches hold `inputs` (or `features`) and `label`, (rows,) int64."""

    form = ClassifyForm
    criterion = Criterion("val/accuracy", higher=True)

    def forward(self, batch: Batch) -> Loss:
        scores, label = self.scores_of_loss(batch), batch["label"]
        right = (scores.argmax(1) == label).sum()
        return Loss(F.cross_entropy(scores, label, reduction="sum"), {"accuracy": right})

    def observe(self, batch: Batch) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return self.scores_again(batch).softmax(1).cpu().numpy(), batch["label"].cpu().numpy()

    def report(self, observed: Sequence[Any]) -> Report:
        from sklearn.metrics import confusion_matrix, f1_score

        probabilities, truth = (np.concatenate(parts) for parts in zip(*observed, strict=True))
        predicted, names = probabilities.argmax(1), self.given.labels
        matrix = confusion_matrix(truth, predicted, labels=range(len(names)))
        return Report(
            {
                "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0.0)),
                "calibration_error": calibration_error(probabilities, truth),
            },
            {"confusion": confusion_picture(matrix, names)},
        )

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        probabilities = self.scores(batch).softmax(1)
        names = self.given.labels
        return [
            {"label": names[int(row.argmax())], "probabilities": dict(zip(names, row.tolist(), strict=True))}
            for row in probabilities
        ]


def calibration_error(probabilities: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Expected calibration error (Guo 2017): by how much confidence and accuracy differ, over 15 bins.

    `probabilities` is (rows, classes), `truth` (rows,).
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in np.unique(bins)]
    return float(sum(gaps) / len(truth))
