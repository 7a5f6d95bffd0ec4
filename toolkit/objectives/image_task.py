"""What the objectives on images share: a ViT, and scores of its features at every evaluation."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolkit.models.initialise import initialise
from toolkit.models.task import Batch, Embeddings, Given, Report, Task
from toolkit.models.vit import ViTTrunk
from toolkit.objectives.features import effective_rank, knn_accuracy, probe_accuracy, spread
from toolkit.objectives.pictures import thumbnails
from toolkit.spec.model import ViTArchitecture

SHOWN = 8
"""Images of a picture."""
PROJECTED = 1000
"""Images whose features are kept for TensorBoard's projector."""


class Seen(NamedTuple):
    """What is kept of an evaluation's micro-batch."""

    features: Tensor
    labels: Tensor | None
    images: Tensor


class ImageTask(Task):
    """Batches hold `inputs`, uint8 (rows, channels, height, width), and `label` (rows,) where there are labels,
    which scores read and training doesn't."""

    trunk: ViTTrunk
    observed_rows = 1024

    def __init__(self, kind: str, given: Given) -> None:
        super().__init__()
        arch = given.architecture
        if not isinstance(arch, ViTArchitecture):
            raise TypeError(f'{kind} needs a model of kind "vit", and not "{arch.kind}".')
        self.labels = given.labels
        self.trunk = ViTTrunk(arch)

    def heads(self) -> tuple[nn.Module, ...]:
        """What stands on the trunk."""
        return ()

    def pictures(self, images: Tensor) -> Mapping[str, NDArray[np.uint8]]:
        """What the task makes of some uint8 images, on the task's device."""
        return {}

    def initialise(self, seed: int) -> None:
        initialise(self.trunk, *self.heads(), seed=seed)

    def weight(self, batch: Batch) -> int:
        return len(batch["inputs"])

    def observe(self, batch: Batch) -> Seen:
        images = batch["inputs"]
        features = self.trunk.pooled(self.trunk(images)).float().cpu()
        label = batch.get("label")
        return Seen(features, None if label is None else label.cpu(), images.cpu())

    @torch.inference_mode()
    def report(self, observed: Sequence[Seen]) -> Report:
        if not observed:
            return Report()
        features = torch.cat([seen.features for seen in observed])
        metrics = {}
        if len(features) > 2:
            metrics = {"feature_rank": effective_rank(features), "feature_std": spread(features)}
        labels = [seen.labels for seen in observed if seen.labels is not None]
        names: tuple[str, ...] = ()
        if labels:
            joined = torch.cat(labels)
            known = joined >= 0
            names = tuple(self.labels[label] if label >= 0 else "" for label in joined[:PROJECTED].tolist())
            if len(set(joined[known].tolist())) > 1 and int(known.sum()) > 4:
                metrics["knn_accuracy"] = knn_accuracy(features[known], joined[known])
                metrics["probe_accuracy"] = probe_accuracy(features[known], joined[known])
        images = torch.cat([seen.images for seen in observed])[:PROJECTED]
        embeddings = Embeddings(features[:PROJECTED].numpy(), names, thumbnails(images))
        shown = images[:SHOWN].to(self.trunk.patch.weight.device)
        return Report(metrics, dict(self.pictures(shown)), embeddings)
