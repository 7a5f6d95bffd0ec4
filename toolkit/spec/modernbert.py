"""`[model]` of kind `modernbert`: the encoder of Warner 2024, as `transformers` has it."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from toolkit.spec.architecture import EncoderArchitecture, Pooling
from toolkit.spec.bert import indivisible
from toolkit.spec.section import Conflict, Section


class ModernBERT(Section):
    """An encoder: rotary positions, GeGLU, no biases, local attention with a global block now and then."""

    kind: Literal["modernbert"]
    n_layers: int = Field(default=6, ge=1, le=1024)
    """Transformer blocks."""
    d_model: int = Field(default=256, ge=8, le=65536)
    """Width of the residual stream."""
    n_heads: int = Field(default=4, ge=1, le=1024)
    """Heads of a block."""
    d_ff: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer. Default: 3/2 d_model."""
    max_sequence_length: int | None = Field(default=None, ge=8)
    """Longest row the model takes. Default: `data.sequence_length`."""
    global_every: int = Field(default=3, ge=1)
    """Every so many blocks, from the first, one in which all positions see each other."""
    window: int = Field(default=128, ge=2)
    """Positions that a local block sees around each, half of them on either side."""
    global_rope_theta: float = Field(default=160_000.0, gt=0)
    """Base of the rotary angles of global blocks."""
    local_rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary angles of local blocks."""
    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance before its root is taken."""
    pooling: Pooling = "mean"
    """What stands for a text: the mean over its tokens, or the first of them."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped in training."""

    def conflicts(self) -> Iterator[Conflict]:
        yield from indivisible(self.d_model, self.n_heads)


class ModernBERTArchitecture(EncoderArchitecture):
    """A ModernBERT with nothing left open."""

    kind: Literal["modernbert"] = "modernbert"
    vocab_size: int
    max_sequence_length: int
    global_every: int
    window: int
    global_rope_theta: float
    local_rope_theta: float

    def is_local(self, layer: int) -> bool:
        """Whether the positions of a block see only those within `window // 2` of them."""
        return layer % self.global_every != 0


def resolve_modernbert(model: ModernBERT, *, vocab_size: int, sequence_length: int) -> ModernBERTArchitecture:
    """Write out every default of `model`."""
    return ModernBERTArchitecture(
        vocab_size=vocab_size,
        max_sequence_length=model.max_sequence_length or sequence_length,
        global_every=model.global_every,
        window=model.window,
        global_rope_theta=model.global_rope_theta,
        local_rope_theta=model.local_rope_theta,
        n_layers=model.n_layers,
        d_model=model.d_model,
        n_heads=model.n_heads,
        n_kv_heads=model.n_heads,
        head_dim=model.d_model // model.n_heads,
        d_ff=model.d_ff or 3 * model.d_model // 2,
        norm="layernorm",
        norm_eps=model.norm_eps,
        activation="geglu",
        qk_norm=False,
        bias=False,
        dropout=model.dropout,
        pooling=model.pooling,
    )
