"""A causal trunk with the language-model head: what pretraining, chat and translation train."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.models.build import build_head
from toolkit.models.cross_entropy import IGNORED, linear_cross_entropy
from toolkit.models.generate import generate
from toolkit.models.initialise import initialise
from toolkit.models.structure import structure_flops
from toolkit.models.task import Batch, Given, Loss, Task
from toolkit.models.trunk import GPTTrunk
from toolkit.spec.model import GPTArchitecture


class LanguageTask(Task):
    """Batches hold `inputs` and `targets`, both (rows, sequence) int64; a target of -100 carries no loss."""

    trunk: GPTTrunk
    predicts_every_token = True
    goes_on = True
    """Whether what it writes goes on from the letters of its prompt, and is no answer to it."""

    def __init__(self, section: Any, given: Given) -> None:
        super().__init__()
        arch = given.architecture
        if not isinstance(arch, GPTArchitecture):
            raise TypeError(f'{section.kind} needs a model of kind "gpt", and not "{arch.kind}".')
        self.given = given
        self.architecture = arch
        self.trunk = GPTTrunk(arch)
        self.head = build_head(arch, self.trunk)

    def weight(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def forward(self, batch: Batch) -> Loss:
        hidden: Tensor = self.trunk(batch["inputs"])
        return Loss(
            linear_cross_entropy(
                hidden.flatten(0, 1),
                self.head.weight,
                batch["targets"].flatten(),
                softcap=self.architecture.logit_softcap,
            )
        )

    def initialise(self, seed: int) -> None:
        initialise(self.trunk, self.head, seed=seed)

    def forward_flops(self, sequence_length: int) -> float:
        return structure_flops(self.trunk, self.head, sequence_length) * sequence_length

    def head_parameters(self) -> list[nn.Parameter]:
        return [self.head.weight]

    def prompt(self, text: str) -> list[int]:
        """What the model is given to go on from `text`: as a document begins."""
        assert self.given.tokenizer is not None, "a language model reads text"
        return [self.given.tokenizer.begin_of_text_id, *self.given.tokenizer.encode(text)]

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
