"""What the engine trains: a trunk with something on it that makes a loss. Objectives and targets are tasks."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.models.trunk import Trunk
from toolkit.spec.model import Architecture

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Batch = Mapping[str, Tensor]
"""A micro-batch: named tensors whose first dimension is the rows."""


class Mean(NamedTuple):
    """A metric with units of its own: both are sums over a micro-batch, without a gradient."""

    total: Tensor
    units: Tensor


@dataclass(frozen=True)
class Loss:
    """Sums over a micro-batch, so that micro-batches and ranks add up."""

    total: Tensor
    """Sum of the loss over its units, in nats: a float32 scalar with a gradient."""
    metrics: dict[str, Tensor | Mean] = field(default_factory=dict)
    """More sums, by metric name (`accuracy`), without a gradient: over the loss's units, or their own."""


@dataclass(frozen=True)
class Embeddings:
    """Vectors of held-out rows, to be looked at in TensorBoard's projector."""

    vectors: NDArray[np.float32]
    """(rows, d_model)."""
    labels: tuple[str, ...] = ()
    """One a row, where the data has labels."""
    thumbnails: NDArray[np.uint8] | None = None
    """(rows, height, width, 3)."""


@dataclass(frozen=True)
class Report:
    """What an evaluation tells beside means."""

    metrics: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    """By name, (height, width, 3)."""
    embeddings: Embeddings | None = None
    samples: tuple[tuple[str, str], ...] = ()
    """Some of what the model wrote: the prompt, and the text after it."""


class Criterion(NamedTuple):
    """The metric that decides which checkpoint is the best."""

    metric: str = "val/loss"
    higher: bool = False
    """Whether more of it is better."""


class Vocabulary(Protocol):
    """What a task may ask of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def end_of_text_id(self) -> int: ...
    @property
    def begin_of_text_id(self) -> int: ...
    @property
    def mask_id(self) -> int | None: ...
    @property
    def special_ids(self) -> tuple[int, ...]: ...
    @property
    def word_edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Iterable[int]) -> str: ...


class Given(NamedTuple):
    """What a task is built for, beside its own section."""

    architecture: Architecture
    labels: tuple[str, ...] = ()
    """Names of the classes, by number; empty for a task without classes."""
    tokenizer: Vocabulary | None = None
    """None for a model that reads no text."""


class Task(nn.Module, ABC):
    """A trunk, a head and a loss.

    Built as `Task(section, given)`, with uninitialised weights. What is random in it draws from torch's
    default generator, which the engine seeds from (seed, step, micro-batch) before each call.
    """

    trunk: Trunk
    predicts_every_token = False
    """Whether the loss is the code length of the text, so that bits per byte follow from it."""
    criterion: Criterion = Criterion()
    observed_rows: int | None = None
    """Rows that `observe` sees of an evaluation during training; None for all."""
    observed_at_last: int | None = None
    """Rows that it sees of a run's last evaluation; None for all."""
    observes_freely = False
    """Whether `observe` calls the trunk as often as the rows need it; else once at most."""
    peers: "ProcessGroup | None" = None
    """Ranks that each train on a part of one micro-batch, for a loss that compares its rows."""

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

    def compute_in(self, dtype: torch.dtype) -> None:
        """Choose the precision of activations and matrix products; weights stay float32."""
        self.trunk.compute_dtype = dtype

    def compilable(self) -> Iterable[nn.Module]:
        """Modules worth compiling, each for itself: repeated blocks share one compilation."""
        return self.trunk.blocks

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the output layer, which optimizers may treat apart."""
        return []

    def observe(self, batch: Batch) -> Any | None:
        """What `report` needs of an evaluation's micro-batch, on the CPU; None for nothing."""
        return None

    def report(self, observed: Sequence[Any]) -> Report:
        """Scores that are no means, and pictures, from what `observe` kept of an evaluation."""
        return Report()

    def derived(self, means: Mapping[str, float]) -> dict[str, float]:
        """Metrics that follow from an evaluation's means."""
        return {}
