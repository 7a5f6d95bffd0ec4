"""Labelled rows: what is held out, what a batch holds, how little of it is padding."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data.dataset import Dataset
from toolkit.data.encoders import TextEncoder
from toolkit.data.errors import DataError
from toolkit.data.prepare_labelled import prepare_labelled
from toolkit.data.tokenizer import TextTokenizer
from toolkit.data.training import train
from toolkit.spec.data import BytesTokenizer
from toolkit.spec.target import Classify
from toolkit.targets.classify import ClassifyTask

Prepare = Callable[..., Dataset]
TOKENIZER: TextTokenizer = train(BytesTokenizer(kind="bytes"), [])


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """Makes a data set of rows: prepare(rows, **options of the source)."""

    def make(
        rows: list[dict[str, object]],
        *,
        longest: int = 64,
        seed: int = 1,
        skip: bool = False,
        **options: object,
    ):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = {"kind": "files", "path": str(path), **options}
        section = Classify.model_validate({"kind": "classify", "data": data})
        return prepare_labelled(
            section.data,
            ClassifyTask.form(section, TextEncoder(TOKENIZER, longest), longest),
            key="k",
            tokenizer=TOKENIZER,
            seed=seed,
            skip_bad=skip,
            cache=tmp_path / "cache",
        )

    return make


def rows_of(n: int, *, rng_seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(rng_seed)
    return [
        {"text": f"{number} " + "x" * int(rng.integers(1, 50)), "label": ["a", "b"][number % 2]}
        for number in range(n)
    ]


def texts(rows: object) -> list[str]:
    return [
        TOKENIZER.decode(row[1:length])
        for row, length in zip(rows["inputs"], rows["lengths"], strict=True)  # type: ignore[index]
    ]


def test_rows_are_split_by_content_and_nothing_is_lost(prepare: Prepare) -> None:
    rows = rows_of(300)
    dataset = prepare(rows, validation=0.2)
    held_out = texts(dataset.validation.table(0, 300))
    trained = texts(dataset.train.table(0, 300))
    assert sorted(held_out + trained) == sorted(str(row["text"]) for row in rows)
    assert 30 < len(held_out) < 90
    assert dataset.facts.labels == ("a", "b")
    again = prepare(list(reversed(rows)), validation=0.2)
    assert sorted(texts(again.validation.table(0, 300))) == sorted(held_out)


def test_an_epoch_holds_every_row_once(prepare: Prepare) -> None:
    dataset = prepare(rows_of(200))
    n = dataset.train.n_rows - dataset.train.n_rows % 8
    seen = [
        text for step in range(n // 8) for text in texts(dataset.train.rows(step, 0, 8, seed=3, batch_rows=8))
    ]
    assert len(set(seen)) == n


@given(step=st.integers(0, 400), cuts=st.lists(st.integers(0, 8), max_size=3), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_a_batch_is_the_same_however_it_is_divided(step: int, cuts: list[int], seed: int) -> None:
    dataset = _shared()
    whole = texts(dataset.train.rows(step, 0, 8, seed=seed, batch_rows=8))
    edges = [0, *sorted(cuts), 8]
    parts = [
        text
        for start, stop in pairwise(edges)
        for text in texts(dataset.train.rows(step, start, stop, seed=seed, batch_rows=8))
    ]
    assert parts == whole


_made: list[Dataset] = []


def _shared() -> Dataset:
    if not _made:
        import tempfile

        folder = Path(tempfile.mkdtemp())
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(100)))
        section = Classify.model_validate({"kind": "classify", "data": {"kind": "files", "path": str(path)}})
        form = ClassifyTask.form(section, TextEncoder(TOKENIZER, 64), 64)
        _made.append(
            prepare_labelled(section.data, form, key="k", tokenizer=TOKENIZER, seed=1, cache=folder / "cache")
        )
    return _made[0]


def test_little_of_a_batch_is_padding(prepare: Prepare) -> None:
    dataset = prepare(rows_of(2000))
    slots = real = 0
    for step in range(50):
        rows = dataset.train.rows(step, 0, 16, seed=1, batch_rows=16)
        slots += rows["inputs"].size  # type: ignore[index]
        real += int(rows["lengths"].sum())  # type: ignore[index]
    assert real / slots > 0.95


def test_a_limit_is_drawn_by_the_seed_and_smaller_ones_are_within(prepare: Prepare) -> None:
    rows = rows_of(300)

    def drawn(limit: int, seed: int) -> set[str]:
        return set(texts(prepare(rows, limit=limit, seed=seed).train.table(0, 300)))

    assert len(drawn(10, 1)) == 10
    assert drawn(10, 1) < drawn(30, 1)
    assert drawn(30, 1) != drawn(30, 2)
    assert prepare(rows, limit=10).facts.train.rows == 10


def test_held_out_rows_are_not_trained_on(prepare: Prepare, tmp_path: Path) -> None:
    rows = rows_of(60)
    named = tmp_path / "named.jsonl"
    named.write_text("".join(json.dumps(row) + "\n" for row in rows[:20]))
    dataset = prepare(rows, validation_path=str(named))
    assert not set(texts(dataset.train.table(0, 60))) & set(texts(dataset.validation.table(0, 60)))
    assert dataset.facts.sources[0].duplicates == 20


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "", "label": "a"}, "the text is empty"),
        ({"text": "x"}, 'field "label" is missing; the row has text'),
        ({"text": 3, "label": "a"}, "text was expected, not int"),
        ({"text": "x", "label": 1.5}, "a label is text or a whole number, not float"),
    ],
)
def test_a_bad_row_is_named_or_counted(prepare: Prepare, row: dict[str, object], reason: str) -> None:
    rows = [*rows_of(50), row]
    with pytest.raises(DataError) as caught:
        prepare(rows)
    assert "rows.jsonl:51" in str(caught.value)
    assert reason in str(caught.value)
    facts = prepare(rows, skip=True).facts.sources[0]
    assert facts.skipped == 1
    assert facts.first_skipped is not None
    assert reason in facts.first_skipped


@given(st.text(max_size=80), st.text(max_size=80))
@settings(deadline=None, max_examples=60)
def test_a_pair_is_cut_the_longer_one_first(first: str, second: str) -> None:
    whole = TextEncoder(TOKENIZER, 1000)
    short = TextEncoder(TOKENIZER, 30)
    ids = [TOKENIZER.encode(first), TOKENIZER.encode(second)]
    if not (first + second).strip():
        return  # refused as empty
    fits = sum(map(len, ids)) <= 28
    encoded = short.encode([first, second])
    assert encoded.cut != fits
    assert len(encoded.fields["inputs"]) == (sum(map(len, ids)) + 2 if fits else 30)
    assert whole.encode([first, second]).fields["inputs"] == [whole.fill, *ids[0], whole.fill, *ids[1]]
