"""One tag a token: entities, parts of speech.

A causal trunk judges a token by what stands before it alone; a bidirectional one, which sees both sides, is the better
parent where there is one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch.nn.functional as F

from toolkit.models.cross_entropy import IGNORED
from toolkit.models.task import Batch, Criterion, Given, Loss, Report
from toolkit.targets.classify import as_label
from toolkit.targets.target import Example, Form, PositionsTask, Values, field_of


class TagForm(Form):
    """`EOT words`, or what else the model reads around a text, with the tag of each word on its first piece or last."""

    keys = frozenset({"tokens_key", "tags_key", "labels", "piece"})

    @property
    def fill(self) -> dict[str, int]:
        return {**super().fill, "words": -1}

    def labels(self, rows: Iterable[Values]) -> tuple[str, ...]:
        if self.section.labels:
            return tuple(self.section.labels)
        key = self.section.tags_key
        found: set[str] = set()
        for row in rows:
            try:
                found.update([as_label(tag) for tag in listed(row, key)])
            except ValueError:
                continue  # for `example` to refuse, which knows whether to pass over it
        if len(found) < 2:
            raise ValueError(f'field "{key}" holds {len(found)} different tags; two or more are needed')
        return tuple(sorted(found))

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        words, tags = listed(row, self.section.tokens_key), listed(row, self.section.tags_key)
        if len(words) != len(tags):
            raise ValueError(f"{len(words)} tokens have {len(tags)} tags")
        for tag in tags:
            if as_label(tag) not in labels:
                raise ValueError(f'tag "{tag}" is not one of: {", ".join(labels[:20])}')
        ids, places = self._encoded(words)
        targets = [IGNORED if word < 0 else labels.index(as_label(tags[word])) for word in places]
        kept = sum(word >= 0 for word in places)
        return Example({"inputs": ids, "targets": targets}, kept, cut=kept < len(words))

    def question(self, row: Values, labels: tuple[str, ...]) -> Example:
        words = listed(row, self.section.tokens_key)
        ids, places = self._encoded(words)
        return Example({"inputs": ids, "words": places}, cut=max(places) + 1 < len(words))

    def row(self, text: str) -> Values:
        return {self.section.tokens_key: text.split()}

    def present(self, row: Values, answer: dict[str, Any]) -> dict[str, Any]:
        """With the tokens, as many as were read, and the entities, where the tags name some."""
        from seqeval.metrics.sequence_labeling import get_entities

        tags = answer["tags"]
        words = list(map(str, row[self.section.tokens_key]))[: len(tags)]
        found = {"tags": tags, "tokens": words}
        if marks_entities(tags):
            found["entities"] = [
                {"kind": kind, "start": start, "end": end + 1, "text": " ".join(words[start : end + 1])}
                for kind, start, end in get_entities(tags)
            ]
        return found

    def _encoded(self, words: Sequence[Any]) -> tuple[list[int], list[int]]:
        """The ids, and for each the number of the word whose tag it carries, or -1."""
        for number, word in enumerate(words):
            if not isinstance(word, str) or not word.strip():
                raise ValueError(f"token {number + 1} is empty")
        ids, words_of = self.tokenizer.encode_words(words)
        missing = set(range(len(words))) - set(words_of)
        if missing:
            raise ValueError(f'token "{words[min(missing)]}" is nothing to the tokenizer')
        frame = self.tokenizer.frame
        room = self.longest - len(frame.before) - len(frame.after)
        ids, words_of = ids[:room], words_of[:room]
        first = self.section.piece == "first"
        before, after = [-1, *words_of[:-1]], [*words_of[1:], -1]
        carries = zip(words_of, before if first else after, strict=True)
        places = [word if word != other else -1 for word, other in carries]
        head, tail = [-1] * len(frame.before), [-1] * len(frame.after)
        return [*frame.before, *ids, *frame.after], [*head, *places, *tail]


def listed(row: Values, key: str) -> Sequence[Any]:
    """A field that holds a list. Raises ValueError."""
    value = field_of(row, key)
    if not isinstance(value, list):
        raise ValueError(f'field "{key}" holds no list but {type(value).__name__}')  # noqa: TRY004 - of the row
    if not value:
        raise ValueError(f'the list of field "{key}" is empty')
    return value


def marks_entities(tags: Sequence[str]) -> bool:
    """Whether tags mark where entities begin and go on (IOB and its kin), and are no parts of speech."""
    return all(tag == "O" or tag[:2] in ("B-", "I-", "E-", "S-", "L-", "U-") for tag in tags)


class TagTask(PositionsTask):
    """Cross-entropy over the tags of tokens. Batches hold `inputs` and `targets`, (rows, sequence) int64 with -100
    where there is no tag."""

    form = TagForm
    bias = True

    def __init__(self, section: Any, given: Given) -> None:
        super().__init__(section, given)
        self.entities = marks_entities(given.labels)
        self.criterion = Criterion("val/entity_f1" if self.entities else "val/accuracy", higher=True)

    def weight(self, batch: Batch) -> int:
        return int((batch["targets"] != IGNORED).sum())

    def forward(self, batch: Batch) -> Loss:
        scores, targets = self.scores(batch), batch["targets"]
        right = (scores.argmax(2) == targets).sum()
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return Loss(loss, {"accuracy": right})

    def observe(self, batch: Batch) -> list[tuple[list[str], list[str]]]:
        names = self.given.labels
        best, targets = self.scores(batch).argmax(2), batch["targets"]
        found = []
        for row, wanted in zip(best.tolist(), targets.tolist(), strict=True):
            places = [place for place, tag in enumerate(wanted) if tag != IGNORED]
            found.append(
                ([names[row[place]] for place in places], [names[wanted[place]] for place in places])
            )
        return found

    def report(self, observed: Sequence[Any]) -> Report:
        """Precision, recall and F1 of whole entities, as conlleval counts them (seqeval)."""
        if not self.entities:
            return Report()
        from seqeval.metrics import f1_score, precision_score, recall_score

        predicted, truth = zip(*(row for part in observed for row in part), strict=True)
        score = {"entity_f1": f1_score, "entity_precision": precision_score, "entity_recall": recall_score}
        return Report(
            {
                name: float(measure(list(truth), list(predicted), zero_division=0))
                for name, measure in score.items()
            }
        )

    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        names, best = self.given.labels, self.scores(batch).argmax(2).tolist()
        return [
            {"tags": [names[tag] for tag, word in zip(row, words, strict=True) if word >= 0]}
            for row, words in zip(best, batch["words"].tolist(), strict=True)
        ]
