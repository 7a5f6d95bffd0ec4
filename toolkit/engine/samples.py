"""What the model writes as it learns."""

import hashlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from toolkit.data.tokenizer import TextTokenizer
from toolkit.engine.checkpointing import State
from toolkit.engine.recorder import Recorder
from toolkit.models.task import Task
from toolkit.plan.plan import Plan

LENGTH = 96
"""Tokens of a sample."""
TEMPERATURE = 0.8
TOP_K = 50


@runtime_checkable
class Writes(Protocol):
    """A task that continues text."""

    def prompt(self, text: str) -> list[int]:
        """What it is given to go on from `text`."""

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
    ) -> Iterator[int]: ...


def write_samples(
    task: Task, tokenizer: TextTokenizer | None, plan: Plan, state: State, recorder: Recorder
) -> None:
    """One sample a prompt, seeded by (seed, step, prompt); none from a task that writes no text."""
    if not isinstance(task, Writes) or tokenizer is None:
        return
    # What a fine-tuned model writes is shown by its evaluation.
    for prompt in plan.run.prompts or (("",) if plan.parent is None else ()):
        recorder.alive(state)
        digest = hashlib.blake2b(f"{plan.seed}/{state.step}/{prompt}".encode(), digest_size=8).digest()
        ids = task.continuations(
            task.prompt(prompt),
            max_new_tokens=LENGTH,
            temperature=TEMPERATURE,
            top_k=TOP_K,
            top_p=None,
            generator=torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1),
            stop_id=tokenizer.end_of_text_id,
        )
        recorder.sample(state, prompt, tokenizer.decode(ids))
