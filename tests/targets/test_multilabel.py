"""Label sets: marks, loss and scores."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tests.targets.conftest import MakeForm, MakeTask, batch_of, encoded

ROWS = [
    {"text": "the", "labels": ["b", "a"]},
    {"text": "a longer one", "labels": []},
    {"text": "another", "labels": "c, a"},
    {"text": "in", "labels": ["c"]},
]


def test_marks_follow_the_labels(make_form: MakeForm) -> None:
    examples, labels = encoded(make_form(kind="multilabel"), ROWS)
    assert labels == ("a", "b", "c")
    marks = [example.fields["labels"].tolist() for example in examples]
    assert marks == [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "x", "labels": ["d"]}, 'label "d" is not one of: a, b, c'),
        ({"text": "x", "labels": 1.5}, "labels are a list, not float"),
        ({"text": "x"}, 'field "labels" is missing; the row has text'),
        ({"text": "", "labels": []}, "the text is empty"),
    ],
)
def test_a_bad_row_says_why(make_form: MakeForm, row: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_form(kind="multilabel").example(row, ("a", "b", "c"))


def test_padding_never_changes_a_loss(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="multilabel"), make_task(labels="abc", kind="multilabel")
    examples, _ = encoded(form, ROWS)
    alone = [task(batch_of(form, [example])).total for example in examples]
    torch.testing.assert_close(task(batch_of(form, examples)).total, torch.stack(alone).sum())


def test_scores_are_those_of_scikit_learn(make_task: MakeTask) -> None:
    rng = np.random.default_rng(0)
    p, truth = rng.random((50, 3)).astype(np.float32), rng.random((50, 3)) < 0.3
    truth[:, 2] = False  # nobody has it: it says nothing about precision
    report = make_task(labels="abc", kind="multilabel").report([(p[:20], truth[:20]), (p[20:], truth[20:])])
    each = [average_precision_score(truth[:, k], p[:, k]) for k in range(2)]
    assert report.metrics["average_precision"] == pytest.approx(np.mean(each))
    guessed = p >= 0.5
    right = (guessed & truth).sum()
    assert report.metrics["micro_f1"] == pytest.approx(2 * right / (guessed.sum() + truth.sum()))


def test_a_prediction_names_the_likely_labels(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="multilabel"), make_task(labels="abc", kind="multilabel", threshold=0.4)
    (found,) = task.predict(batch_of(form, [form.question({"text": "the"}, ())]))
    assert found["labels"] == [name for name, p in found["probabilities"].items() if p >= 0.4]
