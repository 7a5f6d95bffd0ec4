"""Views of images, a batch at a time; every image draws its own numbers, on the CPU, whatever the device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.objectives.part import Part
from toolkit.spec.augment import Augment, Blur, Colour, Crop, Flip, Turn

_LUMA = (0.299, 0.587, 0.114)
# RGB to luma and two chroma axes, in which a turn changes the hue (YIQ).
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def augmented(images: Tensor, augment: Augment, part: Part | None = None) -> Tensor:
    """A view of each image (rows, channels, height, width), float from 0 to 1, of the `part` of a batch that they are.
    Draws from torch's default generator."""
    part = part or Part(0, len(images), len(images))
    crop, flip, turn, colour, blur = (getattr(augment, name) for name in Augment.model_fields)
    views = _moved(images, part, crop, flip, turn)
    if colour is not None and (colour.share or colour.grey):
        views = _coloured(views, part, colour)
    if blur is not None and blur.share:
        views = _blurred(views, part, blur)
    return views


def _moved(images: Tensor, part: Part, crop: Crop | None, flip: Flip | None, turn: Turn | None) -> Tensor:
    """Crop, flip, turn and shear as one affine map, read with bilinear interpolation; black beyond the edge."""
    rows = len(images)
    matrix = torch.eye(2).repeat(rows, 1, 1)
    shift = torch.zeros(rows, 2)
    if turn is not None and (turn.degrees or turn.shear):
        angle = _between(part, -1, 1) * math.radians(turn.degrees)
        shear = torch.eye(2).repeat(rows, 1, 1)
        shear[:, 0, 1] = _between(part, -1, 1) * turn.shear
        rotation = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(rows, 2, 2)
        matrix = rotation @ shear
    if crop is not None:
        area = _between(part, crop.smallest, 1)
        stretch = torch.exp(_between(part, -1, 1) * math.log(crop.stretch))
        size = torch.stack(((area * stretch).sqrt(), (area / stretch).sqrt()), 1).clamp(max=1)
        shift = (1 - size) * (2 * part.draw(2) - 1)
        matrix = matrix * size[:, None]
    if flip is not None and flip.share:
        matrix[:, :, 0] *= torch.where(part.draw() < flip.share, -1.0, 1.0)[:, None]
    theta = torch.cat((matrix, shift[..., None]), 2).to(images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _coloured(images: Tensor, part: Part, colour: Colour) -> Tensor:
    channels = images.shape[1]
    changed = part.draw() < colour.share
    reach = min(0.8 * colour.strength, 1.0)
    brightness, contrast, saturation = (
        torch.where(changed, _between(part, 1 - reach, 1 + reach), 1.0).to(images)[:, None, None, None]
        for _ in range(3)
    )
    hue = torch.where(changed, _between(part, -1, 1) * 0.2 * colour.strength * 2 * math.pi, 0.0)
    grey = (part.draw() < colour.grey).to(images.device)[:, None, None, None]
    views = (images * brightness).clamp(0, 1)
    views = (
        (views - _luma(views).mean((2, 3), keepdim=True)) * contrast + _luma(views).mean((2, 3), keepdim=True)
    ).clamp(0, 1)
    if channels == 3:
        luma = _luma(views)
        views = luma + (views - luma) * saturation
        views = torch.einsum("rij,rjhw->rihw", _hue_turn(hue).to(images), views).clamp(0, 1)
        views = torch.where(grey, _luma(views).expand_as(views), views)
    return views


def _luma(images: Tensor) -> Tensor:
    """(rows, 1, height, width)."""
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor(_LUMA)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def _hue_turn(angle: Tensor) -> Tensor:
    """Matrices (rows, 3, 3) on RGB that turn the hue by `angle`, (rows,)."""
    turn = torch.eye(3).repeat(len(angle), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angle.sin(), angle.sin()
    basis = torch.tensor(_YIQ)
    matrices: Tensor = torch.linalg.inv(basis) @ turn @ basis
    return matrices


def _blurred(images: Tensor, part: Part, blur: Blur) -> Tensor:
    rows, channels, height, width = images.shape
    largest = blur.largest * height
    reach = max(1, math.ceil(2 * largest))
    sigma = _between(part, 0.1, max(largest, 0.1))
    places = torch.arange(-reach, reach + 1.0)
    kernel = torch.exp(-0.5 * (places / sigma[:, None]) ** 2)
    kernel = torch.where((part.draw() < blur.share)[:, None], kernel, (places == 0).float())
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images).repeat_interleave(channels, 0)
    flat = images.reshape(1, rows * channels, height, width)
    flat = F.conv2d(
        F.pad(flat, (reach, reach, 0, 0), "replicate"), kernel[:, None, None], groups=rows * channels
    )
    flat = F.conv2d(
        F.pad(flat, (0, 0, reach, reach), "replicate"), kernel[:, None, :, None], groups=rows * channels
    )
    return flat.view_as(images)


def _between(part: Part, low: float, high: float) -> Tensor:
    return low + (high - low) * part.draw()
