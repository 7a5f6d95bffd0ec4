"""`[model]` of kind `vit`: the vision transformer of Dosovitskiy 2020, as `transformers` has it."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from toolkit.spec.architecture import EncoderArchitecture, Pooling
from toolkit.spec.bert import indivisible
from toolkit.spec.section import Conflict, Section

ImagePositions = Literal["learned", "sincos"]


class ViT(Section):
    """A vision transformer: patches of an image, or of a spectrogram, as tokens (Dosovitskiy 2020)."""

    kind: Literal["vit"]
    n_layers: int = Field(default=4, ge=1, le=1024)
    """Transformer blocks."""
    d_model: int = Field(default=128, ge=8, le=65536)
    """Width of the residual stream."""
    n_heads: int = Field(default=4, ge=1, le=1024)
    """Heads of a block."""
    d_ff: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer. Default: 4 d_model."""
    patch_size: int = Field(default=4, ge=1, le=256)
    """Side of the square patches, in pixels; must divide the image's sides."""
    class_token: bool = True
    """Put a learned token before the patches."""
    pooling: Pooling = "class"
    """What stands for an image: the class token, or the mean over its patches."""
    positions: ImagePositions = "learned"
    """Learned positions, or fixed sines and cosines of row and column (He 2021)."""
    n_registers: int = Field(default=0, ge=0, le=64)
    """Learned tokens without a meaning of their own, for what concerns the whole image (Darcet 2023)."""
    norm_eps: float = Field(default=1e-12, gt=0)
    """Added to the variance before its root is taken."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped in training."""

    def conflicts(self) -> Iterator[Conflict]:
        yield from indivisible(self.d_model, self.n_heads)
        if self.pooling == "class" and not self.class_token:
            yield Conflict(
                ("pooling", "class_token"), '"class" needs class_token = true. Or use pooling = "mean".'
            )
        if self.positions == "sincos" and self.d_model % 4:
            yield Conflict(
                ("positions", "d_model"), f'"sincos" needs d_model divisible by 4, and not {self.d_model}.'
            )


class ViTArchitecture(EncoderArchitecture):
    """A ViT with nothing left open."""

    kind: Literal["vit"] = "vit"
    channels: int
    height: int
    width: int
    patch_size: int
    class_token: bool
    positions: ImagePositions
    n_registers: int
    pixel_mean: tuple[float, ...] = (0.5,)
    """Taken from pixels between 0 and 1, one number a channel or one for all; `pixel_std` is what divides them then."""
    pixel_std: tuple[float, ...] = (0.5,)

    @property
    def vocab_size(self) -> int:
        """It reads no tokens."""
        return 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.height // self.patch_size, self.width // self.patch_size

    @property
    def n_patches(self) -> int:
        rows, columns = self.grid
        return rows * columns

    @property
    def n_prefix(self) -> int:
        """Positions before the patches: the class token, then the registers."""
        return self.class_token + self.n_registers

    @property
    def max_sequence_length(self) -> int:
        """Positions of an image."""
        return self.n_prefix + self.n_patches

    @property
    def patch_values(self) -> int:
        """Numbers in a patch."""
        return self.channels * self.patch_size**2


def resolve_vit(model: ViT, *, image_shape: tuple[int, int, int]) -> ViTArchitecture:
    """Write out every default of `model`, for images of (channels, height, width)."""
    channels, height, width = image_shape
    return ViTArchitecture(
        channels=channels,
        height=height,
        width=width,
        patch_size=model.patch_size,
        class_token=model.class_token,
        positions=model.positions,
        n_registers=model.n_registers,
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
