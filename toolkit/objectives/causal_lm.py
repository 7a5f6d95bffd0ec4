"""Next-token prediction (Radford 2018)."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from toolkit.models.build import build_head
from toolkit.models.cross_entropy import IGNORED, linear_cross_entropy, token_losses
from toolkit.models.generate import generate
from toolkit.models.initialise import initialise
from toolkit.models.structure import structure_flops
from toolkit.models.task import Batch, Given, Loss, Mean, Task
from toolkit.models.trunk import GPTTrunk
from toolkit.spec.model import GPTArchitecture
from toolkit.spec.objective import CausalLM

SHARE = 8
"""One part in so many of a row is early or late: the second part, with little context, and the last, with most."""
EARLY, LATE = "loss_early", "loss_late"


class CausalLMTask(Task):
    """Batches hold `inputs` and `targets`, both (rows, sequence) int64; a target of -100 carries no loss.

    An evaluation also tells the in-context score (Olsson 2022): the loss late in the context minus the loss early,
    below zero as far as the model makes use of what it has read.
    """

    trunk: GPTTrunk
    predicts_every_token = True

    def __init__(self, objective: CausalLM, given: Given) -> None:
        super().__init__()
        arch = given.architecture
        if not isinstance(arch, GPTArchitecture):
            raise TypeError(f'{objective.kind} needs a model of kind "gpt", and not "{arch.kind}".')
        self.architecture = arch
        self.end_of_text = given.tokenizer.end_of_text_id if given.tokenizer else None
        self.trunk = GPTTrunk(arch)
        self.head = build_head(arch, self.trunk)

    def weight(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def forward(self, batch: Batch) -> Loss:
        hidden: Tensor = self.trunk(batch["inputs"])
        arguments = (
            hidden.flatten(0, 1),
            self.head.weight,
            batch["targets"].flatten(),
            self.architecture.logit_softcap,
        )
        if torch.is_grad_enabled():
            return Loss(linear_cross_entropy(*arguments))
        losses = token_losses(*arguments)
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

    def initialise(self, seed: int) -> None:
        initialise(self.trunk, self.head, seed=seed)

    def forward_flops(self, sequence_length: int) -> float:
        return structure_flops(self.trunk, self.head, sequence_length) * sequence_length

    def head_parameters(self) -> list[nn.Parameter]:
        return [self.head.weight]

    def continuations(
        self,
        tokens: list[int],
        *,
        max_new_tokens: int,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        generator: torch.Generator | None,
        stop_id: int | None,
    ) -> Iterator[int]:
        """New tokens after `tokens`, one at a time."""
        return generate(
            self.trunk,
            self.head,
            tokens,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=generator,
            stop_id=stop_id,
        )
