"""What targets that write text have in common: rows of a prompt and what follows it, and greedy answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from toolkit.models.cross_entropy import IGNORED
from toolkit.models.greedy import greedy
from toolkit.models.language import LanguageTask
from toolkit.models.task import Batch
from toolkit.targets.target import Reader, TargetTask

SHOWN = 3
"""Rows whose text an evaluation shows."""


class Pair(NamedTuple):
    """A row taken apart: what the model is given, and what it is to write, its end included."""

    prompt: list[int]
    answer: list[int]


class Written(NamedTuple):
    """What the model wrote for a row."""

    prompt: str
    text: str
    wanted: str


def fields(prompt: Sequence[int], answer: Sequence[int]) -> dict[str, list[int]]:
    """Inputs, and targets one further on: the answer's ids alone."""
    ids = [*prompt, *answer]
    return {"inputs": ids[:-1], "targets": [IGNORED] * (len(prompt) - 1) + list(answer)}


def pairs(batch: Batch) -> list[Pair]:
    """The prompt and the last answer of each row."""
    found = []
    for inputs, targets in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        end = next(place for place in reversed(range(len(targets))) if targets[place] != IGNORED) + 1
        start = next((place for place in reversed(range(end)) if targets[place] == IGNORED), -1) + 1
        found.append(Pair(inputs[: start + 1], targets[start:end]))
    return found


def prompts(batch: Batch) -> list[list[int]]:
    """The inputs of rows without answers."""
    lengths = batch["lengths"].tolist()
    return [row[:length] for row, length in zip(batch["inputs"].tolist(), lengths, strict=True)]


def room(longest: int, answer: Sequence[int], least: int = 2) -> int:
    """Ids that the prompt may have before an answer in `longest` positions. Raises ValueError for too few."""
    left = longest + 1 - len(answer)
    if left < least:
        raise ValueError(
            f"the answer has {len(answer)} tokens, and a row at most {longest}: nothing of its prompt would be left. "
            "Raise sequence_length as far as the parent takes"
        )
    return left


class WordsTask(LanguageTask, TargetTask):
    """The parent's language-model head, trained on answers alone."""

    longest_answer = 256
    """Tokens of a predicted text, at most."""
    observes_freely = True

    @property
    def tokenizer(self) -> Reader:
        assert self.given.tokenizer is not None, "a language model reads text"
        return cast(Reader, self.given.tokenizer)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer."""
        return frozenset({self.tokenizer.end_of_text_id})

    def write(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
        """The likeliest answer to each prompt."""
        written = greedy(
            self.trunk, self.head, prompts, max_new_tokens=max_new_tokens, stop_ids=self.stop_ids
        )
        return [self.tokenizer.decode(ids) for ids in written]

    def written(self, asked: Sequence[Pair], max_new_tokens: int) -> list[Written]:
        """What the model writes for rows whose answers are known."""
        texts = self.write([pair.prompt for pair in asked], max_new_tokens)
        decode = self.tokenizer.decode
        return [
            Written(decode(pair.prompt), text, decode(pair.answer))
            for pair, text in zip(asked, texts, strict=True)
        ]

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        return [{"text": text.strip()} for text in self.write(prompts(batch), self.longest_answer)]


def shown(written: Sequence[Written]) -> tuple[tuple[str, str], ...]:
    """Some of it, for people to read."""
    return tuple((one.prompt, one.text) for one in written[:SHOWN])
