"""Masked language modelling (Devlin 2018): hidden tokens are predicted from both sides."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.bert import BERTTrunk
from toolkit.models.build import build_head, build_trunk
from toolkit.models.cross_entropy import IGNORED
from toolkit.models.initialise import initialise
from toolkit.models.modernbert import ModernBERTTrunk
from toolkit.models.structure import structure_flops
from toolkit.models.task import Batch, Given, Loss, Mean, Report, Task
from toolkit.objectives.masking import Masking
from toolkit.spec.model import BERTArchitecture, ModernBERTArchitecture
from toolkit.spec.objective import MaskedLM

CHUNK = 1024
"""Hidden tokens whose logits are held at once."""
STEP = 64
"""The head reads a multiple of so many: a CPU compiles its kernels for each number anew, and keeps them."""


class MaskedLMTask(Task):
    """Batches hold `inputs` and `targets`, both (rows, sequence) int64; a slot whose target is -100 is padding.

    A unit of loss is a token that `share` asks to be hidden. Where whole words make it a few more or less, the
    mean over those hidden counts for as many.
    """

    trunk: BERTTrunk | ModernBERTTrunk

    def __init__(self, objective: MaskedLM, given: Given) -> None:
        super().__init__()
        arch = given.architecture
        if not isinstance(arch, BERTArchitecture | ModernBERTArchitecture):
            raise TypeError(f'{objective.kind} needs a model that sees both ways, and not "{arch.kind}".')
        self.objective = objective
        self.trunk = build_trunk(arch)  # type: ignore[assignment]
        self.head = build_head(arch, self.trunk)
        self.masking = None if given.tokenizer is None else Masking(objective, given.tokenizer)

    def initialise(self, seed: int) -> None:
        initialise(self.trunk, self.head, seed=seed)

    def weight(self, batch: Batch) -> int:
        return int(self._masking.budget(batch["inputs"], lengths_of(batch)).sum())

    def forward(self, batch: Batch) -> Loss:
        inputs, lengths = batch["inputs"], lengths_of(batch)
        masked, chosen = self._masking.hide(inputs, lengths)
        hidden: Tensor = self.trunk(masked, lengths)
        states, targets = hidden[chosen], inputs[chosen]
        count, filler = len(targets), -len(targets) % STEP
        states, targets = F.pad(states, (0, 0, 0, filler)), F.pad(targets, (0, filler), value=IGNORED)
        loss = self.head.loss(states, targets) * (self.weight(batch) / max(count, 1))
        if self.training:
            return Loss(loss)
        parts = [self.head(part).argmax(1) for part in torch.split(states, CHUNK)]
        correct = (torch.cat(parts) == targets).sum()
        return Loss(loss, {"accuracy": Mean(correct, correct.new_tensor(count))})

    def observe(self, batch: Batch) -> Tensor:
        """How often each token stands in the rows."""
        real = (
            torch.arange(batch["inputs"].shape[1], device=batch["inputs"].device) < lengths_of(batch)[:, None]
        )
        counted = real & self._masking.ordinary_token(batch["inputs"])
        return torch.bincount(batch["inputs"][counted].cpu(), minlength=self.trunk.arch.vocab_size)

    def report(self, observed: Sequence[Any]) -> Report:
        """`unigram_accuracy`: what guessing the most frequent token would reach."""
        counts = torch.stack(list(observed)).sum(0) if observed else torch.zeros(1)
        total = int(counts.sum())
        return Report({"unigram_accuracy": int(counts.max()) / total}) if total else Report()

    def forward_flops(self, sequence_length: int) -> float:
        head = 2 * (self.head.dense.weight.numel() + self.head.weight.numel())
        trunk = structure_flops(self.trunk, None, sequence_length)
        return sequence_length * (trunk + self.objective.share * head)

    def head_parameters(self) -> list[nn.Parameter]:
        return []

    def candidates(self, ids: Sequence[int]) -> Tensor:
        """Log-probabilities (masks, vocab_size) of what stands at the mask tokens of a row."""
        device = self.trunk.embed.weight.device
        row = torch.tensor([ids], device=device)
        with torch.no_grad():
            hidden = self.trunk(row)[row == self._masking.mask_id]
            logits: Tensor = self.head(hidden)
            return logits.log_softmax(1).cpu()

    @property
    def _masking(self) -> Masking:
        if self.masking is None:
            raise ValueError("masked_lm needs the tokenizer, to know its mask token.")
        return self.masking


def lengths_of(batch: Batch) -> Tensor:
    """Real tokens of each row, (rows,): those that have a target, or `lengths` where the batch names them."""
    lengths = batch.get("lengths")
    return (batch["targets"] != IGNORED).sum(1) if lengths is None else lengths
