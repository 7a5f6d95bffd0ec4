"""Hide most patches and predict their pixels: MAE (He 2021) and SimMIM (Xie 2021)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.models.blocks import Block
from toolkit.models.linear import Linear
from toolkit.models.norms import build_norm
from toolkit.models.structure import image_flops, structure_flops
from toolkit.models.task import Batch, Given, Loss
from toolkit.models.trunk import Embedding
from toolkit.models.vit import (
    PIXEL_MEAN,
    PIXEL_STD,
    as_floats,
    at_places,
    normalised,
    patchify,
    sincos_positions,
    unpatchify,
)
from toolkit.objectives.image_task import ImageTask
from toolkit.objectives.pictures import table_of
from toolkit.spec.objective import Decoder, MaskedImage
from toolkit.spec.vit import ViTArchitecture

HIDDEN_SHADE = 0.5
"""Of hidden patches in pictures."""


class Hiding(NamedTuple):
    """Numbers of the patches of each image: (rows, visible) and (rows, hidden), both ascending."""

    visible: Tensor
    hidden: Tensor


class PixelDecoder(nn.Module):
    """MAE's decoder: narrow blocks over all positions, with a mask token where the trunk saw nothing."""

    sincos: Tensor

    def __init__(self, section: Decoder, arch: ViTArchitecture) -> None:
        super().__init__()
        blocks = section.blocks
        self.n_prefix, self.n_patches = arch.n_prefix, arch.n_patches
        self.embed = Linear(arch.d_model, blocks.d_model, bias=True)
        self.mask_token = Embedding(1, blocks.d_model)
        self.register_buffer("sincos", sincos_positions(arch.grid, blocks.d_model), persistent=False)
        self.blocks = nn.ModuleList(Block(blocks, layer, causal=False) for layer in range(blocks.n_layers))
        self.norm = build_norm(blocks)
        self.out = Linear(blocks.d_model, arch.patch_values, bias=True)

    def forward(self, hidden_states: Tensor, hiding: Hiding) -> Tensor:
        """What the trunk made of the visible patches, to the values of the hidden ones (rows, hidden, values)."""
        x: Tensor = self.embed(hidden_states)
        rows, _, width = x.shape
        patches = self.mask_token.weight.to(x.dtype).expand(rows, self.n_patches, width)
        seen = hiding.visible[..., None].expand(-1, -1, width)
        patches = patches.scatter(1, seen, x[:, self.n_prefix :]) + self.sincos.to(x.dtype)
        x = torch.cat((x[:, : self.n_prefix], patches), 1)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.out(self.norm(at_places(x[:, self.n_prefix :], hiding.hidden)))
        return y

    def flops(self, visible: int) -> float:
        """Forward FLOPs of an image of which the trunk saw so many patches."""
        positions = self.n_prefix + self.n_patches
        blocks = positions * structure_flops(self.blocks, None, positions)
        embedded = (self.n_prefix + visible) * 2 * self.embed.weight.numel()
        return blocks + embedded + (self.n_patches - visible) * 2 * self.out.weight.numel()


class PixelHead(nn.Module):
    """SimMIM's: a mask token before the trunk, one layer behind it."""

    def __init__(self, arch: ViTArchitecture) -> None:
        super().__init__()
        self.mask_token = Embedding(1, arch.d_model)
        self.out = Linear(arch.d_model, arch.patch_values, bias=True)


class MaskedImageTask(ImageTask):
    """A unit of loss is an image: the mean error over the values of its hidden patches."""

    head: PixelDecoder | PixelHead

    def __init__(self, objective: MaskedImage, given: Given) -> None:
        super().__init__(objective.kind, given)
        self.objective = objective
        arch = self.trunk.arch
        self.n_hidden = n_hidden(objective.share, arch.n_patches)
        self.head = PixelDecoder(objective.decoder, arch) if objective.method == "mae" else PixelHead(arch)

    def heads(self) -> tuple[nn.Module, ...]:
        return (self.head,)

    def forward(self, batch: Batch) -> Loss:
        images = batch["inputs"]
        hiding = self.hide(len(images), images.device)
        predicted = self.predict(images, hiding).float()
        targets = at_places(self.targets(images), hiding.hidden)
        error = F.mse_loss if self.objective.method == "mae" else F.l1_loss
        return Loss(error(predicted, targets) * len(images))

    def hide(self, rows: int, device: torch.device) -> Hiding:
        """Which patches to hide, drawn for each row from torch's default generator on the CPU."""
        order = torch.rand(rows, self.trunk.arch.n_patches).argsort(1)
        hidden, visible = order[:, : self.n_hidden], order[:, self.n_hidden :]
        return Hiding(visible.sort(1).values.to(device), hidden.sort(1).values.to(device))

    def encode_visible(self, images: Tensor, hiding: Hiding) -> Tensor:
        """MAE's first half: hidden states of the visible patches alone."""
        return self.trunk.encode(self.trunk.patches(images, hiding.visible), hiding.visible)

    def predict(self, images: Tensor, hiding: Hiding) -> Tensor:
        """Values of the hidden patches, (rows, hidden, values)."""
        if isinstance(self.head, PixelDecoder):
            y: Tensor = self.head(self.encode_visible(images, hiding), hiding)
            return y
        x = self.trunk.patches(images)
        mask = self.head.mask_token.weight.to(x.dtype).expand(len(x), hiding.hidden.shape[1], -1)
        x = x.scatter(1, hiding.hidden[..., None].expand_as(mask), mask)
        states = self.trunk.encode(x)[:, self.trunk.arch.n_prefix :]
        filled: Tensor = self.head.out(at_places(states, hiding.hidden))
        return filled

    def targets(self, images: Tensor) -> Tensor:
        """What is predicted of every patch, (rows, patches, values), in float32."""
        values = patchify(normalised(images), self.trunk.arch.patch_size)
        if not self.objective.normalise:
            return values
        mean, std = _scale(values)
        return (values - mean) / std

    def forward_flops(self, sequence_length: int) -> float:
        if isinstance(self.head, PixelDecoder):
            visible = self.trunk.arch.n_patches - self.n_hidden
            return image_flops(self.trunk, visible) + self.head.flops(visible)
        return image_flops(self.trunk) + self.n_hidden * 2 * self.head.out.weight.numel()

    def pictures(self, images: Tensor) -> Mapping[str, NDArray[np.uint8]]:
        arch = self.trunk.arch
        hiding = self.hide(len(images), images.device)
        predicted = self.predict(images, hiding).float()
        values = patchify(normalised(images), arch.patch_size)
        if self.objective.normalise:
            mean, std = (at_places(part.expand_as(values), hiding.hidden) for part in _scale(values))
            predicted = predicted * std + mean
        places = hiding.hidden[..., None].expand_as(predicted)
        shade = torch.full_like(predicted, (HIDDEN_SHADE - PIXEL_MEAN) / PIXEL_STD)
        shape = (arch.channels, arch.height, arch.width)
        masked, filled = (
            unpatchify(values.scatter(1, places, part), arch.patch_size, shape) * PIXEL_STD + PIXEL_MEAN
            for part in (shade, predicted)
        )
        return {"reconstructions": table_of([as_floats(images).cpu(), masked.cpu(), filled.cpu()])}


def n_hidden(share: float, n_patches: int) -> int:
    """Patches of an image that are hidden: at least one, and at least one is not."""
    return min(max(1, round(share * n_patches)), n_patches - 1)


def _scale(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch, (rows, patches, 1)."""
    return values.mean(2, keepdim=True), (values.var(2, keepdim=True) + 1e-6).sqrt()
