"""`[train.recovery]`: what is done about a batch whose loss or gradient is not a number, or far above the others.

Whatever is asked, the optimizer never sees such a batch. What comes after it is part of the result, and follows from
the spec alone: a resumed run passes over the same batches and goes back to the same steps.
"""

from typing import Literal

from pydantic import Field

from toolkit.spec.section import Section


class Recovery(Section):
    """What is done about a batch that would harm the model."""

    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """The loss or the gradient is not a finite number: `stop`, with the weights before it saved; `skip` the batch and
    take the next one for this step; or `rollback` to an earlier checkpoint and go on with the batches after this one
    (Chowdhery 2022, PaLM)."""
    on_spike: Literal["ignore", "stop", "skip", "rollback"] = "ignore"
    """The loss or the norm of the gradient is far above those of late."""
    threshold: float = Field(default=6.0, gt=0)
    """Standard deviations above the mean of late from which it is a spike."""
    window: int = Field(default=128, ge=4, le=10_000)
    """Steps that mean and deviation are taken over; nothing is judged before half of them."""
    rollback_every: int = Field(default=100, ge=1)
    """`rollback` goes back to the last step that is a multiple of this, where a checkpoint is always saved and kept;
    before the first such step only the batch is skipped."""
    limit: int = Field(default=10, ge=1)
    """Batches that are recovered from. At the next one the run stops."""

    @property
    def point_every(self) -> int | None:
        """Steps between checkpoints that the run must be able to go back to; None where it never does."""
        return self.rollback_every if "rollback" in (self.on_nonfinite, self.on_spike) else None
