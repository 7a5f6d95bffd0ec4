"""Any number of labels a row."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F

from toolkit.models.task import Batch, Criterion, Given, Loss, Report
from toolkit.targets.classify import as_label
from toolkit.targets.target import Example, Form, PooledTask, Values, field_of


class MultilabelForm(Form):
    """The input and a mark for each label."""

    keys = frozenset({"input_key", "labels_key", "separator", "labels"})

    def labels(self, rows: Iterable[Values]) -> tuple[str, ...]:
        if self.section.labels:
            return tuple(self.section.labels)
        key = self.section.labels_key
        found: set[str] = set()
        for row in rows:
            try:
                found.update(self._given(row))
            except ValueError:
                continue  # for `example` to refuse, which knows whether to pass over it
        if not found:
            raise ValueError(f'field "{key}" holds no label in any row')
        return tuple(sorted(found))

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        given = self._given(row)
        for label in given:
            if label not in labels:
                raise ValueError(f'label "{label}" is not one of: {", ".join(labels[:20])}')
        encoded, _ = self.read(row)
        marks = np.isin(np.array(labels), given).astype(np.uint8)
        return Example({**encoded.fields, "labels": marks}, cut=encoded.cut)

    def _given(self, row: Values) -> list[str]:
        value = field_of(row, self.section.labels_key)
        if isinstance(value, str):
            return [part.strip() for part in value.split(self.section.separator) if part.strip()]
        if not isinstance(value, list):
            raise ValueError(f"labels are a list, not {type(value).__name__}")  # noqa: TRY004 - of the row
        return [as_label(label) for label in value]


class MultilabelTask(PooledTask):
    """Binary cross-entropy, the mean over the labels. Batches hold `inputs` (or `features`) and `labels`, (rows,
    labels) of zeros and ones."""

    form = MultilabelForm
    bias = True
    criterion = Criterion("val/average_precision", higher=True)

    def __init__(self, section: Any, given: Given) -> None:
        super().__init__(section, given)
        self.threshold: float = section.threshold

    def forward(self, batch: Batch) -> Loss:
        scores, wanted = self.scores_of_loss(batch), batch["labels"].float()
        loss = F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
        return Loss(loss / scores.shape[1])

    def observe(self, batch: Batch) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        return self.scores_again(batch).sigmoid().cpu().numpy(), batch["labels"].cpu().numpy()

    def report(self, observed: Sequence[Any]) -> Report:
        """F1 at the threshold, and the average precision, the mean over labels that some held-out row has."""
        from sklearn.metrics import average_precision_score, f1_score

        probabilities, truth = (np.concatenate(parts) for parts in zip(*observed, strict=True))
        predicted, seen = probabilities >= self.threshold, truth.any(0)
        precision = (
            average_precision_score(truth[:, seen], probabilities[:, seen], average="macro")
            if seen.any()
            else 0.0
        )
        return Report(
            {
                "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0.0)),
                "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0.0)),
                "average_precision": float(precision),
            }
        )

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        names = self.given.labels
        return [
            {
                "labels": [name for name, p in zip(names, row, strict=True) if p >= self.threshold],
                "probabilities": dict(zip(names, row, strict=True)),
            }
            for row in self.scores(batch).sigmoid().tolist()
        ]
