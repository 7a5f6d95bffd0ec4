"""Every token of a document is predicted once, from the token before it, and only the split changes where."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import files_data, make_texts, write_jsonl
from toolkit.data import tokenise
from toolkit.data.corpus import PackedSplit
from toolkit.data.prepare import prepare
from toolkit.data.split import as_hashes, cutoff, digest

END = 0


def pieces(split: PackedSplit) -> Counter[tuple[int, ...]]:
    """The documents as the rows hold them: cut at row ends, each piece with the token before it."""
    found: Counter[tuple[int, ...]] = Counter()
    for start in range(0, split.n_rows, 7):
        rows = split.table(start, start + 7)
        for inputs, targets in zip(rows.inputs, rows.targets, strict=True):
            n = int((targets != -100).sum())
            assert (targets[n:] == -100).all()
            assert (inputs[n:] == END).all()
            at = 0
            while at < n:
                # All but a row's last piece end with their document.
                ends = np.flatnonzero(targets[at:n] == END)
                stop = at + int(ends[0]) + 1 if len(ends) else n
                assert np.array_equal(inputs[at + 1 : stop], targets[at : stop - 1])
                found[(int(inputs[at]), *targets[at:stop].tolist())] += 1
                at = stop
    return found


def expected(texts: list[str], length: int) -> Counter[tuple[int, ...]]:
    """The same from the documents themselves, for a bytes tokenizer."""
    found: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        ids = [END, *(byte + 1 for byte in text.encode()), END]
        for start in range(0, len(ids) - 1, length):
            found[tuple(ids[start : start + length + 1])] += 1
    return found


def held_out(text: str, share: float) -> bool:
    return int.from_bytes(digest(text.encode())[:8], "little") < share * 2**64


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(8, 200), count=st.integers(20, 120), seed=st.integers(0, 1000))
def test_every_token_is_predicted_once_in_its_document(
    tmp_path_factory: pytest.TempPathFactory, length: int, count: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    texts = make_texts(count, seed)
    path = write_jsonl(folder / "d.jsonl", texts)
    corpus = prepare(files_data(path, sequence_length=length), cache=folder / "cache")
    trained = [text for text in texts if not held_out(text, 0.1)]
    others = [text for text in texts if held_out(text, 0.1)]
    if not others:  # then the one of the smallest hash
        others = [min(texts, key=lambda text: int.from_bytes(digest(text.encode())[:8], "little"))]
        trained.remove(others[0])
    for split, own in ((corpus.train, trained), (corpus.validation, others)):
        assert pieces(split) == expected(own, length)
        assert [len(split.table(0, 1).inputs), split.table(0, 1).inputs.dtype] == [1, np.int64]
        assert split.tokens == sum(len(text.encode()) + 1 for text in own)
        assert split.bytes == sum(len(text.encode()) for text in own)
        assert split.facts.documents == len(own)


def test_shards_change_nothing_but_the_packing(
    tmp_path: Path, corpus_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare(files_data(corpus_file), cache=tmp_path / "one")
    monkeypatch.setattr(tokenise, "SHARD_TOKENS", 3000)
    many = prepare(files_data(corpus_file), cache=tmp_path / "many")
    assert len(list(tmp_path.glob("many/tokens/*/*.tokens"))) > 5
    assert pieces(one.train) == pieces(many.train)
    assert pieces(one.validation) == pieces(many.validation)


def test_duplicates_are_dropped_within_and_across_sources(tmp_path: Path, cache: Path) -> None:
    first, second = make_texts(100, seed=1), make_texts(100, seed=2)
    one = write_jsonl(tmp_path / "one.jsonl", [*first, *first[:30], "", " \n"])
    two = write_jsonl(tmp_path / "two.jsonl", [*second[:50], *first[40:60], *second])
    corpus = prepare(files_data(one, two, sequence_length=4096), cache=cache)
    assert pieces(corpus.train) + pieces(corpus.validation) == expected(first + second, 4096)
    assert [source.duplicates for source in corpus.facts.sources] == [30, 50 + 20]
    assert [source.skipped for source in corpus.facts.sources] == [2, 0]


def test_adding_a_source_moves_no_document_across(tmp_path: Path, cache: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", make_texts(150, seed=1))
    two = write_jsonl(tmp_path / "two.jsonl", make_texts(150, seed=2))
    alone = prepare(files_data(one, sequence_length=4096), cache=cache)
    mixed = prepare(files_data(two, one, sequence_length=4096), cache=cache)
    assert pieces(alone.validation) <= pieces(mixed.validation)
    assert pieces(alone.train) <= pieces(mixed.train)


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=50), st.floats(0.001, 0.5))
def test_at_least_one_document_is_held_out(digests: list[bytes], share: float) -> None:
    hashes = as_hashes(digests)
    below = hashes[:, 0] < np.uint64(cutoff(share, hashes))
    assert below.any() or hashes[:, 0].min() == 2**64 - 1
    assert cutoff(share, hashes) >= cutoff(share)


def test_rows_mix_by_weight_and_repeat_exactly(tmp_path: Path, cache: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", ["a" * 400 + str(i) for i in range(100)])
    two = write_jsonl(tmp_path / "two.jsonl", ["b" * 400 + str(i) for i in range(100)])
    data = files_data(one, two)
    sources = [
        source.model_copy(update={"weight": w}) for source, w in zip(data.sources, (3, 1), strict=True)
    ]
    corpus = prepare(data.model_copy(update={"sources": tuple(sources)}), cache=cache)
    rows = corpus.train.rows(0, 0, 4096, seed=3, batch_rows=4096)
    share = (rows.inputs == ord("a") + 1).sum() / np.isin(rows.inputs, [ord("a") + 1, ord("b") + 1]).sum()
    assert share == pytest.approx(0.75, abs=0.01)
    again = corpus.train.rows(40, 6, 16, seed=3, batch_rows=100)
    assert np.array_equal(again.inputs, rows.inputs[4006:4016])
    assert np.array_equal(again.targets, rows.targets[4006:4016])
    assert not np.array_equal(corpus.train.rows(40, 6, 16, seed=4, batch_rows=100).inputs, again.inputs)


def test_an_edited_mix_reads_the_same_rows_of_a_source(tmp_path: Path, cache: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", make_texts(100, seed=1))
    two = write_jsonl(tmp_path / "two.jsonl", make_texts(100, seed=2))
    alone = prepare(files_data(one), cache=cache).train
    mixed = prepare(files_data(one, two), cache=cache).train
    n = alone.n_rows
    first = {row.tobytes() for row in alone.rows(0, 0, n, seed=1, batch_rows=n).inputs}
    assert first <= {row.tobytes() for row in mixed.rows(0, 0, 4 * n, seed=1, batch_rows=4 * n).inputs}


def test_real_web_pages(real: Callable[[str], Path], cache: Path) -> None:
    texts = [json.loads(line)["text"] for line in real("c4.jsonl").read_text().splitlines()]
    corpus = prepare(files_data(real("c4.jsonl"), sequence_length=256), cache=cache)
    assert pieces(corpus.train) + pieces(corpus.validation) == expected(sorted(set(texts)), 256)
    assert corpus.train.tokens / (corpus.train.n_rows * 256) > 0.98


def test_the_table_stops_at_its_end(corpus_file: Path, cache: Path) -> None:
    split = prepare(files_data(corpus_file), cache=cache).validation
    assert split.table(split.n_rows - 2, split.n_rows + 5).inputs.shape == (2, 64)
    assert split.table(split.n_rows, split.n_rows + 5).inputs.shape == (0, 64)
