"""What every architecture has: the sizes of its blocks. `models` builds from it and `plan` counts by it."""

from typing import Literal

from toolkit.spec.section import Section

Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["swiglu", "geglu", "gelu", "gelu_erf", "relu2"]
"""`gelu` is the tanh form that GPT-2 has, `gelu_erf` the exact one of BERT and ViT."""
GATED: tuple[Activation, ...] = ("swiglu", "geglu")
"""Activations with a third matrix, the gate (Shazeer 2020)."""
Pooling = Literal["class", "mean"]
HeadKind = Literal["linear", "family"]
"""What supervised outputs stand on: the trunk's vector, or what the classifiers of the family in `transformers` make of
it first: BERT's pooler, ModernBERT's layer with its norm."""


class BlockArchitecture(Section):
    """Transformer blocks with nothing left open."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    norm: Norm
    norm_eps: float
    activation: Activation
    qk_norm: bool
    bias: bool
    dropout: float


class EncoderArchitecture(BlockArchitecture):
    """Blocks in which every position sees every other, or those near it."""

    pooling: Pooling
    """What stands for a row: the class token at its head, or the mean over its real positions."""
    head: HeadKind = "linear"

    @property
    def preset(self) -> str:
        """The family whose weights other software reads."""
        return str(getattr(self, "kind"))  # noqa: B009 - each encoder has a kind of its own
