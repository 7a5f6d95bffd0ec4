"""What a stage reads: training and held-out rows, whatever they are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from toolkit.data.rows import Rows
from toolkit.data.tokenizer import TextTokenizer
from toolkit.plan.corpus import CorpusFacts

Arrays = Mapping[str, NDArray[Any]]
"""Named arrays whose first dimension is the rows."""


class Split(Protocol):
    """The training or the held-out rows."""

    @property
    def n_rows(self) -> int: ...

    @property
    def tokens(self) -> int:
        """Units of the loss in all rows, where the loss is the code length of a text."""

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of that text."""

    def rows(self, step: int, start: int, stop: int, *, seed: int, batch_rows: int) -> Rows | Arrays:
        """Rows start … stop - 1 of the batch of a step: the same on every machine, however it is divided."""

    def table(self, start: int, stop: int) -> Rows | Arrays:
        """Rows start … stop - 1 of the split, each once, in one fixed order of which any part is a fair
        sample."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A stage's data, prepared."""

    train: Split
    validation: Split
    tokenizer: TextTokenizer | None
    """None for what is not text."""
    facts: CorpusFacts


def arrays(rows: Rows | Arrays) -> Arrays:
    """The rows' arrays by name."""
    return rows if isinstance(rows, Mapping) else vars(rows)
