"""Questions about a context: the likeliest of some options, or a span of the context."""

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.models.cache import KVCache
from toolkit.models.task import Batch, Criterion, Given, Loss, Report
from toolkit.targets.target import Example, Form, PositionsTask, TargetTask, Values, field_of, text_of
from toolkit.targets.words import WordsTask, fields, pairs, prompts, room

CONTEXT, QUESTION = "context", "question"
"""The fields of a row where the spec names none."""
END = -1
"""Stands behind each option, or accepted answer, in the lists of a batch."""
LONGEST_SPAN = 40
"""Tokens of a predicted span, at most."""
_LETTERS = string.ascii_uppercase


class AnswerForm(Form):
    """`EOT question EOT context EOT option EOT` for options, where the option is learned; `EOT question EOT context`
    for spans. What is too long loses the beginning of the context."""

    keys = frozenset({"context_key", "question_key", "answer_key", "options", "options_key"})

    @property
    def fill(self) -> dict[str, int]:
        return {**super().fill, "options": END, "accepted": END, "context": -1}

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        return self._option(row) if self.section.has_options else self._span(row)

    def question(self, row: Values, labels: tuple[str, ...]) -> Example:
        if not self.section.has_options:
            read = self._read(row, self.longest)
            return Example(read.fields, cut=read.cut)
        options = self._options(row)
        encoded = [self._ended(option) for option in options]
        prompt, cut = self._prompt(row, room(self.longest, max(encoded, key=len), least=8))
        return Example({"inputs": prompt, "options": flat(encoded)}, cut=cut)

    def row(self, text: str) -> Values:
        if not self.section.options:
            raise ValueError("a row has several fields, such as context and question: write it as JSON")
        return {self.section.context_key or CONTEXT: text}

    def present(self, row: Values, answer: dict[str, Any]) -> dict[str, Any]:
        """Options by their text; a span by the letters of the context."""
        if self.section.has_options:
            options = self._options(row)
            likely = answer["probabilities"]
            best = max(range(len(options)), key=likely.__getitem__)
            return {"answer": options[best], "probabilities": dict(zip(options, likely, strict=True))}
        offsets = self._read(row, self.longest).offsets
        context = self._context(row)
        start, end = offsets[answer["start"]][0], offsets[answer["end"]][1]
        found = context[start:end]
        return {"answer": found.strip(), "start": start + len(found) - len(found.lstrip())}

    def _option(self, row: Values) -> Example:
        options = self._options(row)
        number = chosen(field_of(row, self.section.answer_key), options)
        encoded = [self._ended(option) for option in options]
        prompt, cut = self._prompt(row, room(self.longest, max(encoded, key=len), least=8))
        answer = encoded[number]
        rest = {"options": flat(encoded), "label": number}
        return Example({**fields(prompt, answer), **rest}, len(answer), len(options[number].encode()), cut)

    def _options(self, row: Values) -> list[str]:
        key = self.section.options_key
        if key is None:
            return list(self.section.options)
        found = field_of(row, key)
        if isinstance(found, Mapping):
            found = found.get("text", list(found.values()))
        if not isinstance(found, list) or len(found) < 2 or not all(isinstance(o, str) and o for o in found):
            raise ValueError(f'field "{key}" holds no list of two or more texts')
        return found

    def _ended(self, option: str) -> list[int]:
        return [*self.tokenizer.encode(option), self.tokenizer.end_of_text_id]

    def _prompt(self, row: Values, longest: int) -> tuple[list[int], bool]:
        begin, end = self.tokenizer.begin_of_text_id, self.tokenizer.end_of_text_id
        texts = [text for text in (self._question(row), self._context(row)) if text]
        if not texts:
            raise ValueError("neither a question nor a context to read")
        head, *last = [self.tokenizer.encode(text) for text in texts]
        if not last:
            return [begin, *head[-(longest - 2) :], end], len(head) > longest - 2
        head = head[: longest // 2]
        kept = longest - len(head) - 3
        return [begin, *head, end, *last[0][-kept:], end], len(last[0]) > kept

    def _question(self, row: Values) -> str:
        """Empty where the row has none and none was named."""
        key = self.section.question_key
        return text_of(row, key or QUESTION) if key or QUESTION in row else ""

    def _context(self, row: Values) -> str:
        key = self.section.context_key
        return text_of(row, key or CONTEXT) if key or CONTEXT in row else ""

    def _read(self, row: Values, longest: int) -> "_Read":
        frame = self.tokenizer.frame
        head, asked = list(frame.before), []
        if question := self._question(row):
            asked = self.tokenizer.encode(question)[: longest // 2]
            head = [*head, *asked, *frame.between]
        ids, offsets = self.tokenizer.encode_offsets(text_of(row, self.section.context_key or CONTEXT))
        kept = longest - len(head) - len(frame.after)
        cut = max(len(ids) - kept, 0)
        if not ids[cut:]:
            raise ValueError("the context is nothing to the tokenizer, or its question leaves no room for it")
        ids, offsets = ids[cut:], offsets[cut:]
        around = [(-1, -1)] * len(head) + offsets + [(-1, -1)] * len(frame.after)
        fields = {"inputs": [*head, *ids, *frame.after], "context": [start for start, _ in around]}
        segments = frame.segments(len(asked), len(ids)) if asked else None
        if segments is not None:
            fields["segments"] = segments
        return _Read(fields, around, cut > 0, offsets[0][0])

    def _span(self, row: Values) -> Example:
        context = text_of(row, self.section.context_key or CONTEXT)
        spans = list(accepted(field_of(row, self.section.answer_key), context))
        read = self._read(row, self.longest)
        inside = [(start, text) for start, text in spans if start >= read.begin]
        if not inside:
            raise ValueError("the answer stands in a part of the context that is too long to be read")
        start, text = inside[0]
        covers = [place for place, (a, b) in enumerate(read.offsets) if a < start + len(text) and b > start]
        if not covers:
            raise ValueError(f'the answer "{text[:40]}" is nothing to the tokenizer')
        texts = [self.tokenizer.encode(text) for _, text in spans]
        return Example(
            {
                **read.fields,
                "accepted": flat(texts),
                "start": covers[0],
                "end": covers[-1],
            },
            cut=read.cut,
        )


class _Read(NamedTuple):
    """Question and context as the model reads them."""

    fields: dict[str, list[int]]
    offsets: list[tuple[int, int]]
    """The letters of the context that each position stands for; (-1, -1) for none."""
    cut: bool
    begin: int
    """The letter at which the context begins."""


def chosen(answer: Any, options: Sequence[str]) -> int:
    """The number of an answer among options: its text, its number from 0, or its letter. Raises ValueError."""
    if isinstance(answer, str):
        if answer in options:
            return options.index(answer)
        stripped = [option.strip().lower() for option in options]
        if answer.strip().lower() in stripped:
            return stripped.index(answer.strip().lower())
        letter = answer.strip().rstrip(".)").upper()
        if len(letter) == 1 and letter in _LETTERS[: len(options)]:
            return _LETTERS.index(letter)
    elif isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    raise ValueError(f"the answer {answer!r} is none of the options: {', '.join(options)[:200]}")


def accepted(answer: Any, context: str) -> Iterable[tuple[int, str]]:
    """Spans of the context that count as the answer: SQuAD's table of texts and starts, or a text.

    Raises ValueError.
    """
    if isinstance(answer, Mapping):
        texts, starts = answer.get("text"), answer.get("answer_start")
        texts, starts = ([part] if not isinstance(part, list) else part for part in (texts, starts))
        if len(texts) != len(starts):
            raise ValueError(f"the answer has {len(texts)} texts and {len(starts)} places where they start")
    else:
        texts, starts = answer if isinstance(answer, list) else [answer], [None]
        starts *= len(texts)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("the row has no answer")
    for text, start in zip(texts, starts, strict=True):
        place = context.find(text) if start is None else start
        if not isinstance(place, int) or place < 0 or context[place : place + len(text)] != text:
            raise ValueError(f'the answer "{text[:40]}" does not stand in the context')
        yield place, text


def flat(lists: Sequence[Sequence[int]]) -> list[int]:
    """Lists in one, END behind each."""
    return [i for ids in lists for i in (*ids, END)]


def unflat(ids: Sequence[int]) -> list[list[int]]:
    """The lists again; END alone, which rows are filled up with, is none."""
    lists: list[list[int]] = [[]]
    for i in ids:
        if i != END:
            lists[-1].append(i)
        elif lists[-1]:
            lists.append([])
    return lists[:-1]


class AnswerTask(TargetTask):
    """Options or spans, as the section says."""

    form = AnswerForm

    def __new__(cls, section: Any, given: Given) -> "AnswerTask":
        return super().__new__(OptionsTask if section.has_options else SpanTask)


class OptionsTask(WordsTask, AnswerTask):
    """Next-token prediction of the right option; the answer is the option of the highest likelihood. Batches hold
    `inputs`, `targets`, `options` (END behind each) and `label`."""

    criterion = Criterion("val/accuracy", higher=True)
    observed_rows = 256

    @torch.inference_mode()
    def likelihoods(self, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> Tensor:
        """Log-probability of each option, its end included, after the prompt, which is read once: (options,)."""
        device, longest = self.head.weight.device, max(map(len, options))
        cache = KVCache(
            self.trunk.arch, capacity=len(prompt) + longest - 1, dtype=self.trunk.compute_dtype, device=device
        )
        hidden: Tensor = self.trunk(torch.tensor([list(prompt)], device=device), cache=cache)[:, -1:]
        hidden = hidden.repeat(len(options), 1, 1)
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in options], device=device)
        if longest > 1:
            rest: Tensor = self.trunk(padded[:, :-1], cache=cache.repeat(len(options)))
            hidden = torch.cat([hidden, rest], 1)
        logs = self.head(hidden).log_softmax(2).gather(2, padded.unsqueeze(2)).squeeze(2)
        real = torch.arange(longest, device=device) < torch.tensor(
            [[len(ids)] for ids in options], device=device
        )
        total: Tensor = (logs * real).sum(1).cpu()
        return total

    def observe(self, batch: Batch) -> list[tuple[int, int]]:
        options = [unflat(row) for row in batch["options"].tolist()]
        labels = batch["label"].tolist()
        found = []
        for pair, choices, label in zip(pairs(batch), options, labels, strict=True):
            found.append((int(self.likelihoods(pair.prompt, choices).argmax()), label))
        return found

    def report(self, observed: Sequence[Any]) -> Report:
        from sklearn.metrics import accuracy_score, f1_score

        predicted, truth = zip(*(row for part in observed for row in part), strict=True)
        macro = f1_score(truth, predicted, average="macro", zero_division=0.0)
        return Report({"accuracy": float(accuracy_score(truth, predicted)), "macro_f1": float(macro)})

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        options = [unflat(row) for row in batch["options"].tolist()]
        return [
            {"probabilities": self.likelihoods(prompt, choices).softmax(0).tolist()}
            for prompt, choices in zip(prompts(batch), options, strict=True)
        ]


class SpanTask(PositionsTask, AnswerTask):
    """Cross-entropy over the positions of the context, of the span's start and its end. Batches hold `inputs`,
    `context` (-1 outside it), `start`, `end` and `accepted` (END behind each)."""

    bias = True
    criterion = Criterion("val/f1", higher=True)

    def weight(self, batch: Batch) -> int:
        return len(batch["inputs"])

    def masked(self, batch: Batch) -> Tensor:
        """Scores of starts and ends, (rows, positions, 2), -inf outside the context."""
        outside = batch["context"] < 0
        return self.scores(batch).masked_fill(outside.unsqueeze(2), -torch.inf)

    def forward(self, batch: Batch) -> Loss:
        scores = self.masked(batch)
        losses = [
            F.cross_entropy(scores[:, :, side], batch[name], reduction="sum")
            for side, name in enumerate(("start", "end"))
        ]
        return Loss((losses[0] + losses[1]) / 2)

    def spans(self, batch: Batch) -> list[tuple[int, int]]:
        """The likeliest span of each row: first and last position."""
        start, end = self.masked(batch).log_softmax(1).unbind(2)
        together = start.unsqueeze(2) + end.unsqueeze(1)
        allowed = torch.ones_like(together[0], dtype=torch.bool).triu().tril(LONGEST_SPAN - 1)
        best = together.masked_fill(~allowed, -torch.inf).flatten(1).argmax(1)
        return [divmod(place, start.shape[1]) for place in best.tolist()]

    def observe(self, batch: Batch) -> list[tuple[str, list[str]]]:
        assert self.given.tokenizer is not None
        decode = self.given.tokenizer.decode
        inputs, wanted = batch["inputs"].tolist(), batch["accepted"].tolist()
        return [
            (decode(row[start : end + 1]), [decode(ids) for ids in unflat(texts)])
            for row, (start, end), texts in zip(inputs, self.spans(batch), wanted, strict=True)
        ]

    def report(self, observed: Sequence[Any]) -> Report:
        rows = [row for part in observed for row in part]
        exact = [max(float(normal(text) == normal(right)) for right in wanted) for text, wanted in rows]
        overlap = [max(word_f1(text, right) for right in wanted) for text, wanted in rows]
        return Report({"exact_match": sum(exact) / len(rows), "f1": sum(overlap) / len(rows)})

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        return [{"start": start, "end": end} for start, end in self.spans(batch)]


def normal(text: str) -> str:
    """Lower case without punctuation, articles and extra spaces, as SQuAD compares answers (Rajpurkar 2016)."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def word_f1(text: str, wanted: str) -> float:
    """F1 of the words that two answers share (Rajpurkar 2016)."""
    ours, theirs = normal(text).split(), normal(wanted).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))
