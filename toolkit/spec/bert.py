"""`[model]` of kind `bert`: the encoder of Devlin 2018, as `transformers` has it."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from toolkit.spec.architecture import EncoderArchitecture, Pooling
from toolkit.spec.section import Conflict, Section


class BERT(Section):
    """An encoder: learned positions, segments, norms after each part (Devlin 2018)."""

    kind: Literal["bert"]
    n_layers: int = Field(default=4, ge=1, le=1024)
    """Transformer blocks."""
    d_model: int = Field(default=256, ge=8, le=65536)
    """Width of the residual stream."""
    n_heads: int = Field(default=4, ge=1, le=1024)
    """Heads of a block."""
    d_ff: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer. Default: 4 d_model."""
    max_sequence_length: int | None = Field(default=None, ge=8)
    """Longest row the model takes. Default: `data.sequence_length`."""
    n_segments: int = Field(default=2, ge=1, le=16)
    """Segment embeddings: 2 tell the texts of a pair apart."""
    norm_eps: float = Field(default=1e-12, gt=0)
    """Added to the variance before its root is taken."""
    pooling: Pooling = "mean"
    """What stands for a text: the mean over its tokens, or the first of them."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped in training."""

    def conflicts(self) -> Iterator[Conflict]:
        yield from indivisible(self.d_model, self.n_heads)


class BERTArchitecture(EncoderArchitecture):
    """A BERT with nothing left open."""

    kind: Literal["bert"] = "bert"
    vocab_size: int
    max_sequence_length: int
    n_segments: int


def resolve_bert(model: BERT, *, vocab_size: int, sequence_length: int) -> BERTArchitecture:
    """Write out every default of `model`."""
    return BERTArchitecture(
        vocab_size=vocab_size,
        max_sequence_length=model.max_sequence_length or sequence_length,
        n_segments=model.n_segments,
        n_layers=model.n_layers,
        d_model=model.d_model,
        n_heads=model.n_heads,
        n_kv_heads=model.n_heads,
        head_dim=model.d_model // model.n_heads,
        d_ff=model.d_ff or 4 * model.d_model,
        norm="layernorm",
        norm_eps=model.norm_eps,
        activation="gelu_erf",
        qk_norm=False,
        bias=True,
        dropout=model.dropout,
        pooling=model.pooling,
    )


def indivisible(d_model: int, n_heads: int) -> Iterator[Conflict]:
    """The conflict of a width that its heads can't share."""
    if d_model % n_heads:
        yield Conflict(
            ("d_model", "n_heads"), f"{d_model} is not divisible by n_heads = {n_heads}. Change one of them."
        )
