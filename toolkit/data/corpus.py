"""A packed corpus of text: the batch of step s, and the held-out rows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from toolkit.data.order import Numbers, Order, permute
from toolkit.data.rows import PackedRows, Rows
from toolkit.plan.corpus import SplitFacts


@dataclass(frozen=True, eq=False)
class PackedSplit:
    """The training or the held-out rows of all sources.

    Attributes:
        parts: One a source; those without rows are left out.
        weights: Of the parts in training.
    """

    parts: tuple[PackedRows, ...]
    weights: tuple[float, ...]

    @cached_property
    def facts(self) -> SplitFacts:
        return sum((part.facts for part in self.parts), SplitFacts())

    @property
    def n_rows(self) -> int:
        return self.facts.rows

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the text: for bits per byte."""
        return self.facts.bytes

    @property
    def tokens(self) -> int:
        """Targets in all rows; each document's end is one of them."""
        return self.facts.tokens

    def rows(self, step: int, start: int, stop: int, *, seed: int, batch_rows: int) -> Rows:
        """Rows start … stop - 1 of the batch of a step: the same on every machine, however it is divided."""
        first = step * batch_rows
        picks = self._order(seed).picks(np.arange(first + start, first + stop, dtype=np.int64))
        return self._read(picks.source, picks.row)

    def table(self, start: int, stop: int) -> Rows:
        """Rows start … stop - 1 of the split, in one fixed order.

        Each row stands in it once. It is a shuffled one, so that a first part is a fair sample.
        """
        stop = min(stop, self.n_rows)
        numbers = permute(np.arange(start, max(stop, start), dtype=np.int64), self.n_rows, key=0)
        ends = np.cumsum([part.facts.rows for part in self.parts])
        source = np.searchsorted(ends, numbers, side="right")
        return self._read(source, numbers - np.append(0, ends)[source])

    def _order(self, seed: int) -> Order:
        return Order(
            seed,
            self.weights,
            tuple(part.facts.rows for part in self.parts),
            tuple(int(part.tokens.index.digest[:16], 16) for part in self.parts),
        )

    def _read(self, source: Numbers, row: Numbers) -> Rows:
        rows = self.parts[0].blank(len(row))
        for i, part in enumerate(self.parts):
            places = np.flatnonzero(source == i)
            part.read(row[places], rows, places)
        return rows
