"""`[model]` of kind `gpt`: a decoder. A preset fills what is left open; single options override it."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from toolkit.spec.architecture import BlockArchitecture, Norm
from toolkit.spec.section import Conflict, Section

Positions = Literal["rope", "learned", "none"]
Activation = Literal["swiglu", "gelu", "relu2"]
Preset = Literal["gpt2", "llama", "qwen3"]

PRESETS: dict[Preset, dict[str, Any]] = {
    "gpt2": {
        "norm": "layernorm",
        "norm_eps": 1e-5,
        "positions": "learned",
        "activation": "gelu",
        "qk_norm": False,
        "bias": True,
        "tie_embeddings": True,
        "zero_init_outputs": False,
    },
    "llama": {
        "norm": "rmsnorm",
        "norm_eps": 1e-5,
        "positions": "rope",
        "activation": "swiglu",
        "qk_norm": False,
        "bias": False,
        "tie_embeddings": False,
        "zero_init_outputs": True,
    },
    "qwen3": {
        "norm": "rmsnorm",
        "norm_eps": 1e-6,
        "positions": "rope",
        "activation": "swiglu",
        "qk_norm": True,
        "bias": False,
        "tie_embeddings": False,
        "zero_init_outputs": True,
    },
}


class GPT(Section):
    """A decoder: causal transformer blocks for next-token prediction."""

    kind: Literal["gpt"]
    preset: Preset = "qwen3"
    """Family whose weights other software reads: it fills every option that is left open."""
    n_layers: int = Field(default=6, ge=1, le=1024)
    """Transformer blocks."""
    d_model: int = Field(default=384, ge=8, le=65536)
    """Width of the residual stream."""
    n_heads: int = Field(default=6, ge=1, le=1024)
    """Query heads of a block."""
    n_kv_heads: int | None = Field(default=None, ge=1)
    """Key and value heads (grouped queries); must divide `n_heads`. Default: `n_heads`."""
    head_dim: int | None = Field(default=None, ge=2)
    """Width of a head. Default: `d_model / n_heads`."""
    d_ff: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer. Default: 4 d_model; for SwiGLU 8/3 d_model, up to a multiple of 64."""
    max_sequence_length: int | None = Field(default=None, ge=8)
    """Longest row the model takes. Default: `data.sequence_length`."""
    norm: Norm | None = None
    """RMSNorm (Zhang 2019) or LayerNorm (Ba 2016), before attention, feed-forward and head."""
    norm_eps: float | None = Field(default=None, gt=0)
    """Added to the variance before its root is taken."""
    positions: Positions | None = None
    """Rotary (Su 2021) or learned positions, or none."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary angles (Su 2021)."""
    activation: Activation | None = None
    """Of the feed-forward layer: SwiGLU (Shazeer 2020), GELU, or ReLU squared (So 2021)."""
    qk_norm: bool | None = None
    """Normalise queries and keys per head before attention."""
    bias: bool | None = None
    """Give linear layers and norms a bias."""
    tie_embeddings: bool | None = None
    """Use the embedding matrix as the output head."""
    logit_softcap: float | None = Field(default=None, gt=0)
    """Bound logits to ±cap by cap * tanh(logits / cap)."""
    zero_init_outputs: bool | None = None
    """Start the output projections of attention and feed-forward at zero."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped in training."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.head_dim is None and self.d_model % self.n_heads:
            yield Conflict(
                ("d_model", "n_heads", "head_dim"),
                f"{self.d_model} is not divisible by n_heads = {self.n_heads}. "
                "Change one of them, or set head_dim.",
            )
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            yield Conflict(
                ("n_kv_heads", "n_heads"),
                f"{self.n_kv_heads} doesn't divide n_heads = {self.n_heads}.",
            )


class GPTArchitecture(BlockArchitecture):
    """A GPT with nothing left open: what `models` builds and `plan` counts."""

    kind: Literal["gpt"] = "gpt"
    preset: Preset
    vocab_size: int
    max_sequence_length: int
    positions: Positions
    rope_theta: float
    tie_embeddings: bool
    logit_softcap: float | None
    zero_init_outputs: bool


def resolve_gpt(model: GPT, *, vocab_size: int, sequence_length: int) -> GPTArchitecture:
    """Write out every default of `model`: the preset's, then the sizes that follow from other sizes."""
    options = {**PRESETS[model.preset], **model.model_dump(exclude_none=True)}
    swiglu = options["activation"] == "swiglu"
    options.setdefault("d_ff", -(-model.d_model * 8 // 3 // 64) * 64 if swiglu else 4 * model.d_model)
    options.setdefault("n_kv_heads", model.n_heads)
    options.setdefault("head_dim", model.d_model // model.n_heads)
    options.setdefault("max_sequence_length", sequence_length)
    options.setdefault("logit_softcap", None)
    return GPTArchitecture(vocab_size=vocab_size, **options)
