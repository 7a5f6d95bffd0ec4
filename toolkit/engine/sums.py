"""What the micro-batches of a step or an evaluation add up to, on one rank and over all."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from toolkit.engine.parallel import Sharding
from toolkit.models.task import Loss, Mean


@dataclass
class Sums:
    """Losses and metrics of micro-batches, added up.

    Attributes:
        total: Of the losses, in nats.
        metrics: Sums over the loss's units, by name.
        own: Those over units of their own.
    """

    total: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    own: dict[str, Mean] = field(default_factory=dict)

    def add(self, loss: Loss) -> None:
        """Add those of one micro-batch."""
        self.total += loss.total.detach()
        for name, value in loss.metrics.items():
            if isinstance(value, Mean):
                total, units = self.own.get(name, (0, 0))
                self.own[name] = Mean(total + value.total.detach(), units + value.units.detach())
            else:
                self.metrics[name] = self.metrics.get(name, 0) + value.detach()

    def over(self, sharding: Sharding) -> "Sums":
        """Added up over the ranks, which must all call it."""
        if sharding.ranks.alone:
            return self
        total, named = sharding.sum([float(self.total), float(len(self.metrics) + len(self.own))])
        summed = Sums(torch.tensor(total, dtype=torch.float64))
        if not named:
            return summed
        own = [(name, float(total), float(units)) for name, (total, units) in self.own.items()]
        shared = [(name, float(value), None) for name, value in self.metrics.items()]
        for name, value, units in sharding.collect([*shared, *own]):
            part = torch.tensor(value, dtype=torch.float64)
            if units is None:
                summed.metrics[name] = summed.metrics.get(name, 0) + part
            else:
                before = summed.own.get(name, (0, 0))
                summed.own[name] = Mean(before[0] + part, before[1] + torch.tensor(units))
        return summed

    def means(self, units: int) -> dict[str, float]:
        """Of the metrics, where the loss has so many units."""
        shared = {name: float(value) / max(units, 1) for name, value in self.metrics.items()}
        own = {name: float(m.total) / float(m.units) for name, m in self.own.items() if float(m.units) > 0}
        return {**shared, **own}
