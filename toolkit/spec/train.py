"""`[train]`: how long, in what batches, by which optimizer and schedule. All of it changes the result."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.duration import BatchSize, TrainLength
from toolkit.spec.recovery import Recovery
from toolkit.spec.section import Section

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Section):
    """AdamW (Loshchilov 2019); decay falls on matrices and embeddings, not on norms and biases."""

    kind: Literal["adamw"]
    lr: Rate = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: Rate = 1e-8
    weight_decay: float = Field(default=0.1, ge=0)


class Muon(Section):
    """Muon (Jordan 2024) for the hidden matrices, AdamW for embeddings, head, norms and biases."""

    kind: Literal["muon"]
    lr: Rate = 0.02
    """Learning rate of the hidden matrices, for orthogonalised updates."""
    momentum: Beta = 0.95
    weight_decay: float = Field(default=0.0, ge=0)
    ns_steps: int = Field(default=5, ge=1, le=20)
    """Newton-Schulz iterations."""
    embedding_lr: Rate = 0.01
    head_lr: Rate = 0.004
    scalar_lr: Rate = 0.01
    """Learning rate of norms and biases."""
    betas: tuple[Beta, Beta] = (0.8, 0.95)
    """AdamW's betas for what Muon doesn't take."""
    eps: Rate = 1e-10


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]


class LinearSchedule(Section):
    """Warm up, hold, then fall linearly over the last `cooldown` of the steps."""

    kind: Literal["linear"]
    warmup: Share = 0.0
    """Share of the steps over which the rate rises from zero."""
    cooldown: Share = 0.7
    """Share of the steps over which the rate falls."""
    floor: Share = 0.0
    """Last learning rate as a share of the highest."""


class CosineSchedule(Section):
    """Warm up, then fall along half a cosine (Loshchilov 2017)."""

    kind: Literal["cosine"]
    warmup: Share = 0.02
    floor: Share = 0.1


class WSDSchedule(Section):
    """Warm up, stay, decay by 1 - sqrt (Hägele 2024)."""

    kind: Literal["wsd"]
    warmup: Share = 0.02
    cooldown: Share = 0.2
    floor: Share = 0.0


class ConstantSchedule(Section):
    """Warm up, then stay."""

    kind: Literal["constant"]
    warmup: Share = 0.0


Schedule = Annotated[
    LinearSchedule | CosineSchedule | WSDSchedule | ConstantSchedule, Field(discriminator="kind")
]


class Train(Section):
    """`[train]`: the recipe."""

    duration: TrainLength
    """`"8M tokens"`, `"500 steps"`, `"2 epochs"` or `"20 tokens/param"`."""
    batch: BatchSize
    """Global batch: `"16k tokens"` or `"64 rows"`. Micro-batches follow from the machine."""
    optimizer: Optimizer = Muon(kind="muon")
    """What turns gradients into steps, with its learning rates."""
    schedule: Schedule = LinearSchedule(kind="linear")
    """How the learning rates change over the run."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; none by default."""
    recovery: Recovery = Recovery()
    """What is done about a batch whose loss or gradient is not a number, or spikes: stop, skip or rollback."""
