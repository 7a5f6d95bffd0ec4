"""The vision transformer: patches become positions, with a class token and registers before them.

An objective may take the parts one by one: `patches`, then `encode` of all of them or of some.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.blocks import Block
from toolkit.models.linear import Linear
from toolkit.models.masks import mean_of_real
from toolkit.models.norms import build_norm
from toolkit.models.trunk import Embedding, Trunk
from toolkit.spec.vit import ViTArchitecture

PIXEL_MEAN = PIXEL_STD = 0.5
"""Pixels from 0 to 1 are moved to -1 to 1, as ViT's own image processor does, unless a model was trained otherwise."""


class ViTTrunk(Trunk):
    """An encoder of images (Dosovitskiy 2020)."""

    causal = False
    arch: ViTArchitecture
    sincos: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, arch: ViTArchitecture) -> None:
        super().__init__(arch)
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.tensor(getattr(arch, name))[:, None, None], persistent=False)
        self.patch = Linear(arch.patch_values, arch.d_model, bias=True)
        self.class_token = Embedding(1, arch.d_model) if arch.class_token else None
        self.registers = Embedding(arch.n_registers, arch.d_model) if arch.n_registers else None
        self.positions = None
        if arch.positions == "learned":
            self.positions = Embedding(arch.class_token + arch.n_patches, arch.d_model)
        else:
            self.register_buffer("sincos", sincos_positions(arch.grid, arch.d_model), persistent=False)
        self.blocks = nn.ModuleList(Block(arch, layer, causal=False) for layer in range(arch.n_layers))
        self.norm = build_norm(arch)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Images (rows, channels, height, width), uint8 or from 0 to 1; `lengths` has no meaning here.

        Positions of the result: class token, registers, then the patches by rows.
        """
        return self.encode(self.patches(inputs))

    def layers(self, inputs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        return self._blocks(self._placed(self.patches(inputs), None))

    def pooled(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.arch.pooling == "class":
            return hidden[:, 0]
        return mean_of_real(hidden[:, self.arch.n_prefix :], None)

    def patches(self, images: Tensor, places: Tensor | None = None) -> Tensor:
        """Embedded patches without positions, (rows, n_patches, d_model), or those at `places` (rows, n) alone.

        Raises ValueError for images of another size.
        """
        arch = self.arch
        expected = (arch.channels, arch.height, arch.width)
        if tuple(images.shape[1:]) != expected:
            raise ValueError(f"images are {tuple(images.shape[1:])}, and the model takes {expected}.")
        x = patchify((as_floats(images) - self.pixel_mean) / self.pixel_std, arch.patch_size).to(
            self.compute_dtype
        )
        y: Tensor = self.patch(x if places is None else at_places(x, places))
        return y

    def encode(self, patches: Tensor, places: Tensor | None = None) -> Tensor:
        """Hidden states of embedded patches (rows, n, d_model), with class token and registers before them.

        `places`, (rows, n), says which patches they are; None for all, in order.
        """
        y: Tensor = self.norm(self._blocks(self._placed(patches, places))[-1])
        return y

    def _placed(self, patches: Tensor, places: Tensor | None) -> Tensor:
        rows, dtype = len(patches), patches.dtype
        prefix: list[Tensor] = []
        learned = self.positions
        table = self.sincos if learned is None else learned.weight[int(self.arch.class_token) :]
        x = patches + (table if places is None else table[places]).to(dtype)
        if self.class_token is not None:
            token: Tensor = self.class_token.weight
            if learned is not None:
                token = token + learned.weight[:1]
            prefix.append(token)
        if self.registers is not None:
            prefix.append(self.registers.weight)
        if prefix:
            x = torch.cat((torch.cat(prefix).to(dtype).expand(rows, -1, -1), x), 1)
        return F.dropout(x, self.arch.dropout, self.training) if self.arch.dropout else x

    def _blocks(self, x: Tensor) -> list[Tensor]:
        states = [x]
        for block in self.blocks:
            x = block(x)
            states.append(x)
        return states


def as_floats(images: Tensor) -> Tensor:
    """Pixels from 0 to 1: uint8 images divided by 255, others as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def normalised(images: Tensor) -> Tensor:
    """Pixels from -1 to 1, as a trunk that is trained here reads them."""
    return (as_floats(images) - PIXEL_MEAN) / PIXEL_STD


def at_places(x: Tensor, places: Tensor) -> Tensor:
    """Of each row of `x`, (rows, positions, width), the positions `places`, (rows, n)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


def patchify(images: Tensor, size: int) -> Tensor:
    """(rows, channels, height, width) to (rows, patches, channels * size * size), patches by rows."""
    rows, channels, height, width = images.shape
    x = images.reshape(rows, channels, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, channels * size * size)


def unpatchify(patches: Tensor, size: int, shape: tuple[int, int, int]) -> Tensor:
    """The images, of shape (channels, height, width), that `patchify` took apart."""
    channels, height, width = shape
    x = patches.reshape(len(patches), height // size, width // size, channels, size, size)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, height, width)


def sincos_positions(grid: tuple[int, int], d_model: int) -> Tensor:
    """Fixed positions (rows * columns, d_model): half of the sines and cosines for the row, half for the
    column (He 2021)."""
    quarter = d_model // 4
    frequencies = 10_000.0 ** -(torch.arange(quarter, dtype=torch.float32) / quarter)
    row, column = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    angles = [torch.outer(place.flatten(), frequencies) for place in (row, column)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], 1)
