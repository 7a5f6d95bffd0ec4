"""`tune`: how much of the trunk a fine-tune moves."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.section import Section

Projection = Literal["q", "k", "v", "out", "gate", "up", "down"]


class FullTune(Section):
    """Every weight moves."""

    kind: Literal["full"]
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a block as a share of the block above it (Clark 2020); 1 is the same for all."""


class HeadTune(Section):
    """The head alone learns, on frozen features that are computed once (a linear probe)."""

    kind: Literal["head"]


class TopTune(Section):
    """The last blocks, the final norm and the head learn; what is below them stays."""

    kind: Literal["top"]
    blocks: int = Field(default=1, ge=1)
    """Blocks that learn, counted from the head."""


class LoraTune(Section):
    """Low-rank updates beside frozen matrices (Hu 2021), saved alone."""

    kind: Literal["lora"]
    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the update's inputs dropped in training."""
    projections: tuple[Projection, ...] = Field(
        default=("q", "k", "v", "out", "gate", "up", "down"), min_length=1
    )
    """Which matrices of each block get an update; those that a block doesn't have are passed over."""


Tune = Annotated[FullTune | HeadTune | TopTune | LoraTune, Field(discriminator="kind")]
