"""`[objective]`: the self-supervised task."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.architecture import BlockArchitecture
from toolkit.spec.augment import Augment
from toolkit.spec.section import Conflict, Section


class CausalLM(Section):
    """Predict the next token (Radford 2018)."""

    kind: Literal["causal_lm"]


class MaskedLM(Section):
    """Hide some tokens and predict them from both sides (Devlin 2018). Special tokens are never hidden."""

    kind: Literal["masked_lm"]
    share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the tokens that are predicted: 0.15 as in BERT, 0.3 as in ModernBERT (Wettig 2022)."""
    choose: Literal["tokens", "words", "spans"] = "tokens"
    """What is hidden together: single tokens, whole words, or runs of tokens (Joshi 2019)."""
    span_length: float = Field(default=3.0, ge=1, le=100)
    """Mean length of a run of tokens, for `choose = "spans"`."""
    replace: Literal["mask", "bert"] = "mask"
    """What stands in a hidden token's place: `[MASK]` always, or in 80 %, a random token in 10 % and the token
    itself in 10 % (`bert`)."""


class RotationObjective(Section):
    """Tell by which of four quarter turns an image is turned (Gidaris 2018)."""

    kind: Literal["rotation"]


class Decoder(Section):
    """The light decoder that fills in hidden patches; it is left out when the trunk is used."""

    n_layers: int = Field(default=1, ge=1, le=64)
    d_model: int = Field(default=64, ge=8, le=65536)
    n_heads: int = Field(default=4, ge=1, le=1024)

    @property
    def blocks(self) -> BlockArchitecture:
        """The shapes of its blocks, which are those of a ViT."""
        return BlockArchitecture(
            n_layers=self.n_layers,
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_heads,
            head_dim=self.d_model // self.n_heads,
            d_ff=4 * self.d_model,
            norm="layernorm",
            norm_eps=1e-6,
            activation="gelu_erf",
            qk_norm=False,
            bias=True,
            dropout=0.0,
        )

    def conflicts(self) -> Iterator[Conflict]:
        if self.d_model % self.n_heads or self.d_model % 4:
            yield Conflict(
                ("d_model", "n_heads"),
                f"{self.d_model} must be divisible by n_heads = {self.n_heads} and by 4.",
            )


class MaskedImage(Section):
    """Hide most patches of an image and predict their pixels."""

    kind: Literal["masked_image"]
    method: Literal["mae", "simmim"] = "mae"
    """`mae`: the trunk reads the visible patches alone, a decoder fills in the others (He 2021). `simmim`: the
    trunk reads a mask token in the place of hidden patches, and one layer predicts them (Xie 2021)."""
    share: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that are hidden."""
    normalise: bool = False
    """Predict the pixels of each patch less their mean, over their standard deviation."""
    decoder: Decoder = Decoder()
    """Of `mae`."""


class Contrastive(Section):
    """Have two views of an image agree and views of different images differ."""

    kind: Literal["contrastive"]
    method: Literal["simclr", "vicreg"] = "simclr"
    """`simclr`: the other images of the batch are what a view must differ from (Chen 2020). `vicreg`: the features
    must vary and not repeat each other, whatever the batch (Bardes 2021)."""
    temperature: float = Field(default=0.2, gt=0)
    """Of `simclr`: smaller looks more at the most similar images."""
    hidden: int = Field(default=256, ge=8)
    """Width of the projection head between the trunk and the loss."""
    outputs: int = Field(default=64, ge=2)
    """Outputs of the projection head."""
    invariance: float = Field(default=25.0, ge=0)
    variance: float = Field(default=25.0, ge=0)
    covariance: float = Field(default=1.0, ge=0)
    """Weights of the three parts of `vicreg`."""
    augment: Augment = Augment()
    """How views are made; what is left out follows from the kind of images."""


Objective = Annotated[
    CausalLM | MaskedLM | RotationObjective | MaskedImage | Contrastive, Field(discriminator="kind")
]
READS: dict[str, tuple[str, ...]] = {
    "causal_lm": ("gpt",),
    "masked_lm": ("bert", "modernbert"),
    "rotation": ("vit",),
    "masked_image": ("vit",),
    "contrastive": ("vit",),
}
"""The kinds of models that an objective trains."""
WHOLE_BATCH = frozenset({"contrastive"})
"""Objectives whose loss compares the rows of a batch with each other, so that it can't be taken apart."""
