"""Talking to a model that was taught to answer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from toolkit.evals.sampling import load_task
from toolkit.spec.chat_template import Message
from toolkit.store.errors import BadFile
from toolkit.store.manifest import Checkpoint
from toolkit.targets.chat import ChatTask


class Options(NamedTuple):
    """How answers are drawn."""

    temperature: float = 0.7
    top_k: int | None = 50
    top_p: float | None = None
    max_tokens: int = 256


@dataclass
class Talk:
    """A conversation. What no longer fits is forgotten from its beginning, the system's message last."""

    task: ChatTask
    options: Options = field(default_factory=Options)
    system: str = ""
    seed: int = 0
    messages: list[Message] = field(default_factory=list)
    forgotten: int = 0
    """Messages that no longer fitted."""

    def reset(self) -> None:
        self.messages.clear()
        self.forgotten = 0

    def say(self, text: str) -> Iterator[str]:
        """The answer, piece by piece. Raises ValueError for a conversation that the template refuses."""
        self.messages.append({"role": "user", "content": text})
        said: list[str] = []
        try:
            for piece in self._answer():
                said.append(piece)
                yield piece
        except ValueError:
            self.messages.pop()
            raise
        finally:
            if said and self.messages and self.messages[-1]["role"] == "user":
                self.messages.append({"role": "assistant", "content": "".join(said).strip()})

    def _answer(self) -> Iterator[str]:
        limit = self.task.trunk.arch.max_sequence_length
        most = min(self.options.max_tokens, limit // 2)
        ids = self._asked()
        while len(ids) + most > limit and len(self.messages) > 1:
            self.messages.pop(0)
            self.forgotten += 1
            while self.messages[0]["role"] == "assistant":
                self.messages.pop(0)
                self.forgotten += 1
            ids = self._asked()
        decoder = self.task.tokenizer.decoder()
        turn = self.forgotten + len(self.messages)
        written = self.task.continuations(
            ids,
            max_new_tokens=most,
            temperature=self.options.temperature,
            top_k=self.options.top_k,
            top_p=self.options.top_p,
            generator=torch.Generator().manual_seed((self.seed + turn) % 2**63),
            stop_id=self.task.tokenizer.end_of_text_id,
        )
        for token in written:
            if piece := decoder.push(token):
                yield piece
        if rest := decoder.flush():
            yield rest

    def _asked(self) -> list[int]:
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return self.task.ask([*system, *self.messages])


def load_for_talk(checkpoint: Checkpoint, device: str = "cpu") -> ChatTask:
    """The model of a chat fine-tune. Raises BadFile for another, and what `load_task` raises."""
    task, _, plan = load_task(checkpoint, device)
    if not isinstance(task, ChatTask):
        way = "sample" if plan.parent is None else "predict"
        raise BadFile(
            checkpoint.path,
            f"holds a model for {plan.task.kind}, which was not taught to talk. See `tk {way}`",
        )
    return task
