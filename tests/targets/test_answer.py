"""Questions: options by their likelihood, spans by their places in the context."""

from typing import Any

import pytest
import torch

from tests.targets.conftest import MakeForm, MakeTask, batch_of, encoded
from toolkit.data.tokenizer import TextTokenizer
from toolkit.targets.answer import chosen, flat, normal, unflat, word_f1

SPANS = [
    {"context": "It was Paris – the city.", "question": "Where?", "answer": "Paris"},
    {
        "context": "the theatre in the city",
        "question": "What?",
        "answer": {"text": ["theatre", "the theatre"], "answer_start": [4, 0]},
    },
    {"context": "no question", "answer": ["question"]},
]
CHOICES = [
    {"context": "the sun", "question": "hot?", "choices": ["yes", "no"], "answer": "yes"},
    {"context": "a", "question": "which one of the two?", "choices": ["in", "the longer one"], "answer": 1},
    {"context": "b", "choices": ["x", "y", "z"], "answer": "C."},
]


def test_lists_in_one_and_back() -> None:
    lists = [[3, 4], [5], [6, 7, 8]]
    assert unflat(flat(lists)) == lists
    assert unflat([*flat(lists), -1, -1]) == lists


def test_an_option_is_learned_and_stands_last(make_form: MakeForm, tokenizer: TextTokenizer) -> None:
    form = make_form(kind="answer", options_key="choices")
    examples, _ = encoded(form, CHOICES)
    end = tokenizer.end_of_text_id
    assert [example.fields["label"] for example in examples] == [0, 1, 2]
    for example, row in zip(examples, CHOICES, strict=True):
        right = row["choices"][example.fields["label"]]
        learned = [target for target in example.fields["targets"] if target >= 0]
        assert learned == [*tokenizer.encode(right), end]
        assert example.bytes == len(right)
        question = form.question(row, ())
        assert example.fields["inputs"][: len(question.fields["inputs"])] == question.fields["inputs"]


def test_likelihoods_are_those_of_whole_rows(make_task: MakeTask, tokenizer: TextTokenizer) -> None:
    task = make_task(kind="answer", options_key="choices")
    prompt = [tokenizer.end_of_text_id, *tokenizer.encode("the sun and the rain")]
    options = [[*tokenizer.encode(text), tokenizer.end_of_text_id] for text in ("yes", "the other one", "a")]
    found = task.likelihoods(prompt, options)
    for value, option in zip(found, options, strict=True):
        ids = torch.tensor([[*prompt, *option]])
        logs = task.head(task.trunk(ids)).log_softmax(2)[0]
        expected = sum(logs[len(prompt) - 1 + k, i] for k, i in enumerate(option))
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_options_are_scored_in_any_company(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = (
        make_form(kind="answer", options_key="choices"),
        make_task(kind="answer", options_key="choices"),
    )
    examples, _ = encoded(form, CHOICES)
    together = task.observe(batch_of(form, examples))
    alone = [task.observe(batch_of(form, [example]))[0] for example in examples]
    assert together == alone
    assert [label for _, label in together] == [0, 1, 2]
    asked = [form.question(row, ()) for row in CHOICES]
    answers = [
        form.present(row, a) for row, a in zip(CHOICES, task.predict(batch_of(form, asked)), strict=True)
    ]
    for answer, row, (best, _) in zip(answers, CHOICES, together, strict=True):
        assert answer["answer"] == row["choices"][best]
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_padding_never_changes_a_loss(make_form: MakeForm, make_task: MakeTask) -> None:
    for options, rows in (({"options_key": "choices"}, CHOICES), ({}, SPANS)):
        form, task = make_form(kind="answer", **options), make_task(kind="answer", **options)
        examples, _ = encoded(form, rows)
        alone = [task(batch_of(form, [example])).total for example in examples]
        torch.testing.assert_close(task(batch_of(form, examples)).total, torch.stack(alone).sum())


def test_a_span_covers_its_answer(make_form: MakeForm, tokenizer: TextTokenizer) -> None:
    examples, _ = encoded(make_form(kind="answer"), SPANS)
    for example, right in zip(examples, ("Paris", "theatre", "question"), strict=True):
        fields = example.fields
        ids = fields["inputs"][fields["start"] : fields["end"] + 1]
        assert tokenizer.decode(ids).strip() == right
        assert all(place >= 0 for place in fields["context"][fields["start"] : fields["end"] + 1])


def test_a_span_is_told_by_the_letters_of_the_context(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="answer"), make_task(kind="answer")
    examples, _ = encoded(form, SPANS)
    for row, example in zip(SPANS, examples, strict=True):
        told = form.present(row, {"start": example.fields["start"], "end": example.fields["end"]})
        assert row["context"][told["start"] :].startswith(told["answer"])
    batch = batch_of(form, [form.question(row, ()) for row in SPANS])
    for row, answer in zip(SPANS, task.predict(batch), strict=True):
        assert form.present(row, answer)["answer"] in row["context"]


def test_long_contexts_lose_their_beginning(make_form: MakeForm) -> None:
    row = {"context": "x" * 90 + " Paris", "question": "q", "answer": "Paris"}
    form = make_form(kind="answer")
    example = form.example(row, ())
    assert example.cut
    assert len(example.fields["inputs"]) == 64
    assert form.present(row, {"start": example.fields["start"], "end": example.fields["end"]}) == {
        "answer": "Paris",
        "start": 91,
    }
    with pytest.raises(ValueError, match="in a part of the context that is too long"):
        form.example({**row, "context": "Paris " + "x" * 90}, ())


@pytest.mark.parametrize(
    ("options", "row", "said"),
    [
        ({}, {"context": "abc", "answer": "d"}, 'the answer "d" does not stand in the context'),
        ({}, {"context": "abc", "answer": {"text": [], "answer_start": []}}, "the row has no answer"),
        ({}, {"context": "abc"}, 'field "answer" is missing; the row has context'),
        (
            {"options": ["x", "y"]},
            {"context": "abc", "answer": "z"},
            "the answer 'z' is none of the options: x, y",
        ),
        (
            {"options_key": "o"},
            {"context": "a", "answer": "z", "o": ["z"]},
            'field "o" holds no list of two or more',
        ),
        ({"options": ["x", "y"]}, {"answer": "x"}, "neither a question nor a context to read"),
    ],
)
def test_a_row_without_an_answer_says_so(
    make_form: MakeForm, options: dict[str, Any], row: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        make_form(kind="answer", **options).example(row, ())


def test_an_answer_is_a_text_a_number_or_a_letter() -> None:
    options = ["yes", "no", "maybe"]
    assert [chosen(answer, options) for answer in ("no", "Maybe ", 0, "B", "c.")] == [1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("text", "wanted", "same", "f1"),
    [
        ("The  Cat!", "cat", True, 1.0),
        ("a cat sat", "the cat stood", False, 0.5),
        ("", "", True, 1.0),
        ("dog", "cat", False, 0.0),
        ("x x y", "x y y", False, 2 / 3),
    ],
)
def test_answers_are_compared_as_squad_compares_them(text: str, wanted: str, same: bool, f1: float) -> None:
    assert (normal(text) == normal(wanted)) is same
    assert word_f1(text, wanted) == pytest.approx(f1)
