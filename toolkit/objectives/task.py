"""What the engine trains: a trunk with something on it that makes a loss."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""A micro-batch: named tensors whose first dimension is the rows."""


@dataclass(frozen=True)
class Loss:
    """Sums over a micro-batch, so that micro-batches and ranks add up."""

    total: Tensor
    """Sum of the loss over its units, in nats: a float32 scalar with a gradient."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """More sums over the same units, by metric name (`accuracy`), without a gradient."""


class Task(nn.Module, ABC):
    """A trunk, a head and a loss; objectives and targets are both tasks.

    What is random in it draws from torch's default generator, which the engine seeds from (seed, step,
    micro-batch) before each call.
    """

    trunk: nn.Module
    predicts_every_token = False
    """Whether the loss is the code length of the text, so that bits per byte follow from it."""

    @abstractmethod
    def weight(self, batch: Batch) -> int:
        """Units of loss in a micro-batch (predicted tokens, images, …), known before the forward pass."""

    @abstractmethod
    def forward(self, batch: Batch) -> Loss:
        """The loss of a micro-batch, summed over its units."""

    @abstractmethod
    def forward_flops(self, sequence_length: int) -> float:
        """Floating-point operations of a forward pass over one row, counted from the modules as built."""

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Fill every weight from `seed`."""

    @abstractmethod
    def compute_in(self, dtype: torch.dtype) -> None:
        """Choose the precision of activations and matrix products; weights stay float32."""

    def compilable(self) -> Iterable[nn.Module]:
        """Modules worth compiling, each for itself: repeated blocks share one compilation."""
        return ()

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the output layer, which optimizers may treat apart."""
        return []
