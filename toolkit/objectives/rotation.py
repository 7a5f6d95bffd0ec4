"""Which of four quarter turns (Gidaris 2018): what is up, and so what is seen."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.models.linear import Linear
from toolkit.models.structure import image_flops
from toolkit.models.task import Batch, Given, Loss
from toolkit.models.vit import as_floats
from toolkit.objectives.image_task import ImageTask
from toolkit.objectives.pictures import table_of
from toolkit.spec.objective import RotationObjective

TURNS = 4


class RotationTask(ImageTask):
    """All four turns of each image are in one batch; a unit of loss is a turned image."""

    def __init__(self, objective: RotationObjective, given: Given) -> None:
        super().__init__(objective.kind, given)
        self.head = Linear(self.trunk.d_model, TURNS, bias=True)

    def heads(self) -> tuple[nn.Module, ...]:
        return (self.head,)

    def head_parameters(self) -> list[nn.Parameter]:
        return [self.head.weight]

    def weight(self, batch: Batch) -> int:
        return TURNS * len(batch["inputs"])

    def forward(self, batch: Batch) -> Loss:
        views = turned(batch["inputs"])
        targets = torch.arange(TURNS, device=views.device).repeat_interleave(len(views) // TURNS)
        logits: Tensor = self.head(self.trunk.pooled(self.trunk(views))).float()
        correct = (logits.detach().argmax(1) == targets).sum()
        return Loss(F.cross_entropy(logits, targets, reduction="sum"), {"accuracy": correct})

    def forward_flops(self, sequence_length: int) -> float:
        return TURNS * (image_flops(self.trunk) + 2 * self.head.weight.numel())

    def pictures(self, images: Tensor) -> Mapping[str, NDArray[np.uint8]]:
        return {"rotations": table_of(as_floats(turned(images)).cpu().chunk(TURNS))}


def turned(images: Tensor) -> Tensor:
    """Square images (rows, …) turned by 0, 90, 180 and 270 degrees, one turn after the other: (4 rows, …)."""
    return torch.cat([torch.rot90(images, turn, (2, 3)) for turn in range(TURNS)])
