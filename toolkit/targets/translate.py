"""One text to another: translations and summaries."""

from collections.abc import Sequence
from typing import Any

from toolkit.models.task import Batch, Given, Report
from toolkit.targets.target import Example, Form, Values, text_of
from toolkit.targets.words import WordsTask, Written, fields, pairs, room, shown

ROUGE = ("rouge1", "rouge2", "rougeL")


class TranslateForm(Form):
    """`EOT source EOT` and the target, which ends in EOT. Too long a source is cut at its end."""

    keys = frozenset({"source_key", "target_key"})

    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        target, end = text_of(row, self.section.target_key), self.tokenizer.end_of_text_id
        answer = [*self.tokenizer.encode(target), end]
        prompt, cut = self._prompt(row, room(self.longest, answer, least=3))
        return Example(fields(prompt, answer), len(answer), len(target.encode()), cut)

    def question(self, row: Values, labels: tuple[str, ...]) -> Example:
        prompt, cut = self._prompt(row, max(self.longest // 2, self.longest - self.section.max_new_tokens))
        return Example({"inputs": prompt}, cut=cut)

    def row(self, text: str) -> Values:
        return {self.section.source_key: text}

    def _prompt(self, row: Values, longest: int) -> tuple[list[int], bool]:
        ids = self.tokenizer.encode(text_of(row, self.section.source_key))
        end = self.tokenizer.end_of_text_id
        return [self.tokenizer.begin_of_text_id, *ids[: longest - 2], end], len(ids) > longest - 2


class TranslateTask(WordsTask):
    """Next-token prediction of target texts. Scores are of greedy texts: of 64 held-out rows at each evaluation, of
    500 at the last one."""

    form = TranslateForm
    goes_on = False
    observed_rows = 64
    observed_at_last = 500

    def __init__(self, section: Any, given: Given) -> None:
        super().__init__(section, given)
        self.metrics: tuple[str, ...] = section.metrics
        self.longest_answer = section.max_new_tokens

    def prompt(self, text: str) -> list[int]:
        return [*super().prompt(text), self.tokenizer.end_of_text_id]

    def observe(self, batch: Batch) -> list[Written]:
        return self.written(pairs(batch), self.longest_answer)

    def report(self, observed: Sequence[Any]) -> Report:
        written = [one for part in observed for one in part]
        texts, wanted = [one.text.strip() for one in written], [one.wanted.strip() for one in written]
        return Report(scores(texts, wanted, self.metrics), samples=shown(written))


def scores(texts: Sequence[str], wanted: Sequence[str], metrics: Sequence[str]) -> dict[str, float]:
    """Corpus scores of texts against one reference each: BLEU and chrF from 0 to 100 (sacrebleu), ROUGE F1 from 0 to
    1, with stemming (rouge-score)."""
    found: dict[str, float] = {}
    if "bleu" in metrics:
        from sacrebleu.metrics.bleu import BLEU

        found["bleu"] = BLEU().corpus_score(list(texts), [list(wanted)]).score
    if "chrf" in metrics:
        from sacrebleu.metrics.chrf import CHRF

        found["chrf"] = CHRF().corpus_score(list(texts), [list(wanted)]).score
    if "rouge" in metrics:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(ROUGE, use_stemmer=True)
        each = [scorer.score(right, text) for right, text in zip(wanted, texts, strict=True)]
        found |= {name: sum(one[name].fmeasure for one in each) / len(each) for name in ROUGE}
    return found
