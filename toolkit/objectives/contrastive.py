"""Two views of an image agree, views of different images differ: SimCLR (Chen 2020) and VICReg (Bardes 2021)."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.models.linear import Linear
from toolkit.models.norms import LayerNorm
from toolkit.models.structure import image_flops
from toolkit.models.task import Batch, Given, Loss
from toolkit.models.vit import as_floats
from toolkit.objectives.augmentation import augmented
from toolkit.objectives.image_task import ImageTask
from toolkit.objectives.part import Part
from toolkit.objectives.pictures import table_of
from toolkit.spec.objective import Contrastive

VIEWS = 2


class Projection(nn.Module):
    """Two layers between the trunk and the loss, left behind after pretraining."""

    def __init__(self, d_model: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.up = Linear(d_model, hidden, bias=False)
        self.norm = LayerNorm(hidden, 1e-6, bias=True)
        self.out = Linear(hidden, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, d_model) to (rows, outputs)."""
        y: Tensor = self.out(F.relu(self.norm(self.up(x))))
        return y


class ContrastiveTask(ImageTask):
    """A unit of loss is an image. The loss compares the images of a batch, so a batch is not computed in pieces: ranks
    have a part of its images each, and compare them with those of all. With dropout it depends on how many
    ranks there are."""

    def __init__(self, objective: Contrastive, given: Given) -> None:
        super().__init__(objective.kind, given)
        self.objective = objective
        self.head = Projection(self.trunk.d_model, objective.hidden, objective.outputs)

    def heads(self) -> tuple[nn.Module, ...]:
        return (self.head,)

    def forward(self, batch: Batch) -> Loss:
        images = as_floats(batch["inputs"])
        # An evaluation's batches are whole on each rank.
        part = Part.of(len(images), images.device, self.peers if self.training else None)
        views = torch.cat([augmented(images, self.objective.augment, part) for _ in range(VIEWS)])
        part.draw_apart()
        projected: Tensor = self.head(self.trunk.pooled(self.trunk(views))).float()
        first, second = projected.chunk(VIEWS)
        if self.objective.method == "vicreg":
            weights = (self.objective.invariance, self.objective.variance, self.objective.covariance)
            return Loss(vicreg(part.gather(first), part.gather(second), weights) * part.rows)
        total, correct = nt_xent(first, second, self.objective.temperature, part)
        return Loss(total, {"accuracy": correct})

    def forward_flops(self, sequence_length: int) -> float:
        head = 2 * (self.head.up.weight.numel() + self.head.out.weight.numel())
        return VIEWS * (image_flops(self.trunk) + head)

    def pictures(self, images: Tensor) -> Mapping[str, NDArray[np.uint8]]:
        pixels = as_floats(images)
        views = [augmented(pixels, self.objective.augment).cpu() for _ in range(VIEWS)]
        return {"views": table_of([pixels.cpu(), *views])}


def nt_xent(
    first: Tensor, second: Tensor, temperature: float, part: Part | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding a view's other view among all views of the batch, by cosine similarity.

    Args:
        first: (rows, outputs), one view of each image; `second` the other one.
        part: Which rows of the batch they are, if not all.

    Returns:
        The sum over rows of the mean over their two views, in nats; and how often the other view was the
        most similar one, halves included.
    """
    rows = len(first)
    part = part or Part(0, rows, rows)
    first, second = F.normalize(first, dim=1), F.normalize(second, dim=1)
    everyone = torch.cat((part.gather(first), part.gather(second)))
    logits = torch.cat((first, second)) @ everyone.T / temperature
    place = torch.arange(rows, device=first.device) + part.first
    itself, other = torch.cat((place, place + part.total)), torch.cat((place + part.total, place))
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    correct = (logits.detach().argmax(1) == other).sum() / VIEWS
    return F.cross_entropy(logits, other, reduction="sum") / VIEWS, correct


def vicreg(first: Tensor, second: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Invariance, variance and covariance of two views (rows, outputs), weighted; a scalar."""
    rows, outputs = first.shape
    loss = weights[0] * F.mse_loss(first, second)
    for view in (first, second):
        centred = view - view.mean(0)
        if rows > 1:
            std = (centred.var(0) + 1e-4).sqrt()
            loss = loss + weights[1] * F.relu(1 - std).mean() / VIEWS
            covariance = centred.T @ centred / (rows - 1)
            apart = covariance.square().sum() - covariance.diagonal().square().sum()
            loss = loss + weights[2] * apart / outputs
    return loss
