"""Texts to texts: targets cover the target, scores are the libraries' own."""

import pytest
import torch

from tests.targets.conftest import MakeForm, MakeTask, batch_of, encoded
from toolkit.data.tokenizer import TextTokenizer
from toolkit.targets.translate import scores
from toolkit.targets.words import pairs

ROWS = [
    {"source": "ein Hund", "target": "a dog"},
    {"source": "der", "target": "the"},
    {"source": "die Katze auf der Matte", "target": "the cat on the mat"},
]


def test_source_and_target_stand_apart(make_form: MakeForm, tokenizer: TextTokenizer) -> None:
    form, end = make_form(kind="translate"), tokenizer.end_of_text_id
    examples, _ = encoded(form, ROWS)
    for example, pair, row in zip(examples, pairs(batch_of(form, examples)), ROWS, strict=True):
        assert pair.prompt == [end, *tokenizer.encode(row["source"]), end]
        assert pair.answer == [*tokenizer.encode(row["target"]), end]
        assert example.tokens == len(pair.answer)
        assert example.bytes == len(row["target"].encode())
        assert form.question(row, ()).fields["inputs"] == pair.prompt


def test_a_long_source_is_cut_and_a_target_never(make_form: MakeForm) -> None:
    form = make_form(kind="translate", longest=16)
    example = form.example({"source": "x" * 40, "target": "y" * 9}, ())
    assert example.cut
    assert example.tokens == 10
    assert len(example.fields["inputs"]) == 16
    with pytest.raises(ValueError, match="the answer has 21 tokens, and a row at most 16"):
        form.example({"source": "x", "target": "y" * 20}, ())
    with pytest.raises(ValueError, match='the text of field "target" is empty'):
        form.example({"source": "x", "target": " "}, ())
    with pytest.raises(ValueError, match='field "source" is missing; the row has target'):
        form.example({"target": "x"}, ())


def test_padding_never_changes_a_loss(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="translate"), make_task(kind="translate")
    examples, _ = encoded(form, ROWS)
    alone = [task(batch_of(form, [example])).total for example in examples]
    torch.testing.assert_close(task(batch_of(form, examples)).total, torch.stack(alone).sum())


def test_predictions_are_the_same_in_any_company(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="translate"), make_task(kind="translate", max_new_tokens=8)
    asked = [form.question(row, ()) for row in ROWS]
    together = task.predict(batch_of(form, asked))
    assert together == [task.predict(batch_of(form, [example]))[0] for example in asked]


def test_scores_are_those_of_the_commands(tmp_path) -> None:
    import subprocess
    import sys

    texts = ["the cat sat on the mat .", "a dog runs"]
    wanted = ["the cat sat on a mat .", "a brown dog runs fast"]
    (tmp_path / "reference").write_text("\n".join(wanted) + "\n")
    found = scores(texts, wanted, ["bleu", "chrf", "rouge"])
    for metric in ("bleu", "chrf"):
        command = [
            sys.executable,
            "-m",
            "sacrebleu",
            str(tmp_path / "reference"),
            "-m",
            metric,
            "-b",
            "-w",
            "6",
        ]
        said = subprocess.run(
            command, input="\n".join(texts) + "\n", capture_output=True, text=True, check=True
        )
        assert found[metric] == pytest.approx(float(said.stdout), abs=1e-6)
    assert found["rouge1"] == pytest.approx((10 / 12 + 6 / 8) / 2, abs=1e-6)
    assert scores(wanted, wanted, ["bleu", "rouge"]) == pytest.approx(
        {"bleu": 100.0, "rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    )
