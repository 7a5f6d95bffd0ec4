"""Tags of tokens: each on one piece of its token, scored by whole entities."""

from pathlib import Path

import pytest
import torch

from tests.targets.conftest import MakeForm, MakeTask, batch_of, encoded
from toolkit.data.records import read_records
from toolkit.data.tokenizer import TextTokenizer
from toolkit.targets.tag import marks_entities

ROWS = [
    {"tokens": ["the", "Ångström", "unit", "–", "a", "length"], "tags": ["O", "B-PER", "O", "O", "O", "O"]},
    {"tokens": ["Berlin"], "tags": ["B-LOC"]},
    {"tokens": ["New", "York", "inner", "the"], "tags": ["B-LOC", "I-LOC", "O", "O"]},
]
LABELS = ("B-LOC", "B-PER", "I-LOC", "O")


@pytest.mark.parametrize("piece", ["first", "last"])
def test_a_tag_stands_on_one_piece_of_its_token(
    make_form: MakeForm, tokenizer: TextTokenizer, piece: str
) -> None:
    examples, labels = encoded(make_form(kind="tag", piece=piece), ROWS)
    assert labels == LABELS
    for example, row in zip(examples, ROWS, strict=True):
        ids, targets = example.fields["inputs"], example.fields["targets"]
        assert tokenizer.decode(ids) == " ".join(row["tokens"])
        places = [place for place, target in enumerate(targets) if target >= 0]
        assert [labels[targets[place]] for place in places] == row["tags"]
        assert example.tokens == len(row["tags"])
        for word, place in enumerate(places):
            # What has been read up to the piece's place.
            seen = " ".join(row["tokens"][: word + 1])
            before = " ".join(row["tokens"][:word])
            if piece == "last":
                assert tokenizer.decode(ids[: place + 1]) == seen
            else:
                assert tokenizer.decode(ids[:place]).rstrip() == before


def test_what_is_too_long_loses_its_last_tokens(make_form: MakeForm) -> None:
    form = make_form(kind="tag", longest=12)
    example = form.example(ROWS[0], LABELS)
    assert example.cut
    assert len(example.fields["inputs"]) == 12
    assert example.tokens < 6


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": ["a"], "tags": ["O", "O"]}, "1 tokens have 2 tags"),
        ({"tokens": ["a"], "tags": ["B-ORG"]}, 'tag "B-ORG" is not one of: B-LOC'),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "token 2 is empty"),
        ({"tokens": [], "tags": []}, 'the list of field "tokens" is empty'),
        ({"tokens": "a b", "tags": ["O"]}, 'field "tokens" holds no list but str'),
    ],
)
def test_a_bad_row_says_why(make_form: MakeForm, row: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_form(kind="tag").example(row, LABELS)


def test_padding_never_changes_a_loss(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="tag"), make_task(labels=LABELS, kind="tag")
    examples, _ = encoded(form, ROWS)
    alone = [task(batch_of(form, [example])).total for example in examples]
    whole = task(batch_of(form, examples))
    torch.testing.assert_close(whole.total, torch.stack(alone).sum())
    assert task.weight(batch_of(form, examples)) == 11


def test_entities_are_counted_whole(make_task: MakeTask) -> None:
    """Sang and De Meulder's rule, by hand: two of three entities found, one of them cut short."""
    task = make_task(labels=LABELS, kind="tag")
    truth = [["B-LOC", "I-LOC", "O", "B-PER"], ["O", "B-LOC"]]
    found = [["B-LOC", "O", "O", "B-PER"], ["O", "B-LOC"]]
    metrics = task.report([list(zip(found, truth, strict=True))]).metrics
    assert metrics == pytest.approx({"entity_f1": 2 / 3, "entity_precision": 2 / 3, "entity_recall": 2 / 3})
    assert task.criterion.metric == "val/entity_f1"


def test_parts_of_speech_are_no_entities(make_task: MakeTask) -> None:
    task = make_task(labels=("DET", "NOUN"), kind="tag")
    assert task.criterion.metric == "val/accuracy"
    assert task.report([[(["DET"], ["NOUN"])]]).metrics == {}
    assert not marks_entities(["NOUN"])


def test_predictions_come_with_their_tokens_and_entities(make_form: MakeForm, make_task: MakeTask) -> None:
    form, task = make_form(kind="tag"), make_task(labels=LABELS, kind="tag")
    rows = [form.row("the Ångström unit"), form.row("Berlin")]
    batch = batch_of(form, [form.question(row, LABELS) for row in rows])
    found = [form.present(row, answer) for row, answer in zip(rows, task.predict(batch), strict=True)]
    assert [answer["tokens"] for answer in found] == [["the", "Ångström", "unit"], ["Berlin"]]
    assert all(len(answer["tags"]) == len(answer["tokens"]) for answer in found)
    shown = form.present({"tokens": ["in", "New", "York"]}, {"tags": ["O", "B-LOC", "I-LOC"]})
    assert shown["entities"] == [{"kind": "LOC", "start": 1, "end": 3, "text": "New York"}]


def test_conll_files_are_rows_of_tokens(tmp_path: Path, make_form: MakeForm) -> None:
    file = tmp_path / "rows.conll"
    file.write_text("-DOCSTART- -X- O O\n\nNew NNP B-LOC\nYork NNP I-LOC\n\nthe DT O\n")
    rows = [record.values for record in read_records(file, "conll", "utf-8")]
    examples, labels = encoded(make_form(kind="tag"), rows)
    assert labels == ("B-LOC", "I-LOC", "O")
    assert [example.tokens for example in examples] == [2, 1]
