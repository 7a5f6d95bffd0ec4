"""Next-token prediction (Radford 2018)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from toolkit.models.cross_entropy import IGNORED, token_losses
from toolkit.models.language import LanguageTask
from toolkit.models.task import Batch, Given, Loss, Mean

SHARE = 8
"""One part in so many of a row is early or late: the second part, with little context, and the last, with most."""
EARLY, LATE = "loss_early", "loss_late"


class CausalLMTask(LanguageTask):
    """Every token of a document, from those before it.

    An evaluation also tells the in-context score (Olsson 2022): the loss late in the context minus the loss early,
    below zero as far as the model makes use of what it has read.
    """

    def __init__(self, section: Any, given: Given) -> None:
        super().__init__(section, given)
        self.end_of_text = given.tokenizer.end_of_text_id if given.tokenizer else None

    def forward(self, batch: Batch) -> Loss:
        if torch.is_grad_enabled():
            return super().forward(batch)
        hidden: Tensor = self.trunk(batch["inputs"])
        losses = token_losses(
            hidden.flatten(0, 1),
            self.head.weight,
            batch["targets"].flatten(),
            self.architecture.logit_softcap,
        )
        return Loss(losses.sum(), self._by_position(batch, losses.view_as(batch["targets"])))

    def derived(self, means: Mapping[str, float]) -> dict[str, float]:
        if LATE not in means or EARLY not in means:
            return {}
        return {"in_context": means[LATE] - means[EARLY]}

    def _by_position(self, batch: Batch, losses: Tensor) -> dict[str, Tensor | Mean]:
        """Losses early and late in the context, in equally many positions of the same rows: those that one document
        fills. `losses` is (rows, sequence)."""
        width = losses.shape[1] // SHARE
        if self.end_of_text is None or width < 1:
            return {}
        one_document = (batch["inputs"][:, 1:] != self.end_of_text).all(1)
        full = one_document & (batch["targets"] != IGNORED).all(1)
        units = full.sum() * width
        return {
            EARLY: Mean((losses[:, width : 2 * width].sum(1) * full).sum(), units),
            LATE: Mean((losses[:, -width:].sum(1) * full).sum(), units),
        }
