"""A number a row."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F

from toolkit.models.task import Batch, Criterion, Loss, Report
from toolkit.targets.target import Example, Form, PooledTask, Values, field_of

LARGEST = 1e18
"""Numbers beyond it have no square that float32 holds."""


class RegressForm(Form):
    """The input and its number; `labels` keeps the mean and spread that the numbers are scaled by."""

    keys = frozenset({"input_key", "value_key"})

    def labels(self, rows: Any) -> tuple[str, ...]:
        values = []
        for row in rows:
            try:
                values.append(as_number(row.get(self.section.value_key)))
            except ValueError:
                continue  # for `example` to refuse, which knows whether to pass over it
        if not values:
            raise ValueError(f'no row has a number in a field "{self.section.value_key}"')
        spread = float(np.std(values))
        return (repr(float(np.mean(values))), repr(spread if spread > 0 else 1.0))

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        value = as_number(field_of(row, self.section.value_key))
        encoded, _ = self.read(row)
        return Example({**encoded.fields, "value": np.float32(value)}, cut=encoded.cut)


def as_number(value: Any) -> float:
    """A number that float32 squares. Raises ValueError."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise ValueError(f"a number was expected, not {str(value)[:60]!r}") from None
    if not abs(number) <= LARGEST:
        raise ValueError(f"a number of at most {LARGEST:g} was expected, not {number}")
    return number


class RegressTask(PooledTask):
    """Squared error of the standardised number. Batches hold `inputs` (or `features`) and `value`, (rows,)."""

    form = RegressForm
    bias = True
    criterion = Criterion("val/spearman", higher=True)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and spread of the training numbers."""
        mean, spread = self.given.labels
        return float(mean), float(spread)

    def forward(self, batch: Batch) -> Loss:
        mean, spread = self.scale
        wanted = (batch["value"] - mean) / spread
        return Loss(F.mse_loss(self.scores_of_loss(batch).squeeze(1), wanted, reduction="sum"))

    def observe(self, batch: Batch) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        mean, spread = self.scale
        return (self.scores_again(batch).squeeze(1) * spread + mean).cpu().numpy(), batch[
            "value"
        ].cpu().numpy()

    def report(self, observed: Sequence[Any]) -> Report:
        from scipy.stats import pearsonr, spearmanr
        from sklearn.metrics import root_mean_squared_error

        predicted, truth = (np.concatenate(parts) for parts in zip(*observed, strict=True))
        flat = np.ptp(predicted) == 0 or np.ptp(truth) == 0 or len(truth) < 2
        return Report(
            {
                "rmse": float(root_mean_squared_error(truth, predicted)),
                "pearson": 0.0 if flat else float(pearsonr(predicted, truth).statistic),
                "spearman": 0.0 if flat else float(spearmanr(predicted, truth).statistic),
            }
        )

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        mean, spread = self.scale
        return [{"value": value} for value in (self.scores(batch).squeeze(1) * spread + mean).tolist()]
