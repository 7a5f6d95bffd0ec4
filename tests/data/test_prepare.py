"""Preparation can be killed, stopped, edited and disturbed; what it gives stays the same."""

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import files_data, make_texts, write_jsonl
from toolkit.data import tokenise
from toolkit.data.errors import DataError, PreparationStopped
from toolkit.data.prepare import prepare
from toolkit.data.progress import Silent
from toolkit.plan.corpus import read_facts
from toolkit.store import atomic


class Watch(Silent):
    """Notes the phases; stops after so many advances."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.phases: list[str] = []
        self._left = stop_after

    def start(self, phase: str, total: int | None) -> None:
        self.phases.append(phase)

    def advance(self, n: int) -> None:
        if self._left is not None:
            self._left -= 1

    def should_stop(self) -> bool:
        return self._left is not None and self._left <= 0


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "SHARD_TOKENS", 4000)
    monkeypatch.setattr(tokenise, "_BATCH_DOCUMENTS", 16)


def content(cache: Path) -> dict[str, str]:
    """Hashes of everything that a run would read."""
    return {
        path.relative_to(cache).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.name != "lock" and path.parent.name != "hashes"
    }


def test_a_second_call_does_nothing(corpus_file: Path, cache: Path) -> None:
    data = files_data(corpus_file, tokenizer={"kind": "bpe", "vocab_size": 300})
    first = prepare(data, cache=cache)
    before = content(cache)
    watch = Watch()
    assert prepare(data, cache=cache, progress=watch).facts == first.facts == read_facts(data, cache=cache)
    assert watch.phases == []
    assert content(cache) == before


@pytest.mark.parametrize("stops", [1, 2, 3, 5, 8, 13, 21])
def test_a_stop_loses_at_most_one_shard(tmp_path: Path, corpus_file: Path, stops: int) -> None:
    data = files_data(corpus_file)
    expected = prepare(data, cache=tmp_path / "whole")
    cache, calls = tmp_path / "stopped", 0
    while True:
        calls += 1
        before = len(list(cache.rglob("*.tokens")))
        try:
            corpus = prepare(data, cache=cache, progress=Watch(stops + before + 3))
        except PreparationStopped:
            assert read_facts(data, cache=cache) is None
            continue
        break
    assert calls > 1
    assert corpus.facts == expected.facts
    assert content(cache) == content(tmp_path / "whole")


CHILD = """
import sys
from pathlib import Path
from toolkit.data import tokenise
from toolkit.data.prepare import prepare
from toolkit.spec.data import Data
tokenise.SHARD_TOKENS, tokenise._BATCH_DOCUMENTS = 4000, 16
print("begun", flush=True)
prepare(Data.model_validate_json(sys.argv[1]), cache=Path(sys.argv[2]))
assert "torch" not in sys.modules
print("done", flush=True)
"""


def child(data: Any, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, data.model_dump_json(), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_killed_at_any_moment_it_goes_on_to_the_same_corpus(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", make_texts(1500))
    data = files_data(path, tokenizer={"kind": "bpe", "vocab_size": 300})
    prepare(data, cache=tmp_path / "whole")
    wait = random.Random(0)
    kills = 0
    for _ in range(40):
        process = child(data, tmp_path / "killed")
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(wait.uniform(0.0, 0.12))
        process.send_signal(signal.SIGKILL)
        finished = process.stdout.read() == "done\n"
        process.wait()
        if finished:
            break
        kills += 1
        if kills == 5:
            break
    assert kills
    prepare(data, cache=tmp_path / "killed")
    left = content(tmp_path / "killed")
    whole = content(tmp_path / "whole")
    assert left == whole


def test_two_at_once_do_the_work_once(tmp_path: Path) -> None:
    data = files_data(write_jsonl(tmp_path / "d.jsonl", make_texts(1000)))
    processes = [child(data, tmp_path / "cache") for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["begun\ndone\n"] * 2
    prepare(data, cache=tmp_path / "alone")
    assert content(tmp_path / "cache") == content(tmp_path / "alone")


def test_an_edited_mix_tokenises_nothing_again(tmp_path: Path, cache: Path) -> None:
    one = write_jsonl(tmp_path / "one.jsonl", make_texts(100, seed=1))
    two = write_jsonl(tmp_path / "two.jsonl", make_texts(100, seed=2))
    data = files_data(one, two, tokenizer={"kind": "bpe", "vocab_size": 300})
    prepare(data, cache=cache)
    heavier = data.sources[0].model_copy(update={"weight": 7.0})
    for sources in ((heavier, data.sources[1]), (data.sources[1], heavier)):
        watch = Watch()
        prepare(data.model_copy(update={"sources": sources}), cache=cache, progress=watch)
        assert set(watch.phases) <= {"packing"}
    fixed = files_data(one)
    prepare(fixed, cache=cache)
    watch = Watch()
    prepare(files_data(one, two, validation=0.2, sequence_length=32), cache=cache, progress=watch)
    assert watch.phases.count("tokenising") == 1


def test_changed_data_has_another_fingerprint(corpus_file: Path, cache: Path) -> None:
    data = files_data(corpus_file)
    before = prepare(data, cache=cache).facts
    moved = corpus_file.with_name("moved.jsonl")
    corpus_file.rename(moved)
    assert prepare(files_data(moved), cache=cache).facts.fingerprint == before.fingerprint
    write_jsonl(corpus_file, [*make_texts(300), "one more"])
    assert prepare(data, cache=cache).facts.fingerprint != before.fingerprint


def test_a_file_that_changes_while_it_is_read_is_noticed(corpus_file: Path, cache: Path) -> None:
    class Writer(Silent):
        def start(self, phase: str, total: int | None) -> None:
            if phase == "tokenising":
                with corpus_file.open("a") as file:
                    file.write(json.dumps({"text": "late"}) + "\n")

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(files_data(corpus_file), cache=cache, progress=Writer())
    assert not list(cache.rglob("*.tokens"))


@pytest.mark.parametrize("ending", [".tokens", ".documents", ".json"])
def test_a_torn_shard_is_made_again(corpus_file: Path, cache: Path, ending: str) -> None:
    data = files_data(corpus_file)
    prepare(data, cache=cache)
    before = content(cache)
    torn = sorted(cache.rglob(f"shard-00002{ending}"))[0]
    torn.write_bytes(torn.read_bytes()[:-3])
    prepare(data, cache=cache)
    assert content(cache) == before


def test_a_full_disk_keeps_whole_shards(
    corpus_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = files_data(corpus_file)
    written, write = 0, os.write

    def short_write(descriptor: int, content: bytes) -> int:
        nonlocal written
        written += len(content)
        if written > 60_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "write", short_write)
        with pytest.raises(DataError) as caught:
            prepare(data, cache=cache)
    assert str(caught.value) == (
        f"{cache}: the disk is full; whole shards are kept. Free space or set TK_CACHE to another disk"
    )
    shards = list(cache.rglob("shard-*.json"))
    assert shards
    assert not list(cache.rglob("*.tmp"))
    times = {path: path.stat().st_mtime_ns for path in shards}
    prepare(data, cache=cache)
    assert {path: path.stat().st_mtime_ns for path in shards} == times


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], "empty: there is no text in it"),
        (["", " \n"], "empty: there is no text in it"),
        (["x" * 30], "too small: 31 tokens, less than one row of 64; add text or lower data.sequence_length"),
        (
            ["x" * 300],
            "too small: 1 document in all, so none can be held out for validation; add documents",
        ),
    ],
)
def test_too_little_text_is_named(tmp_path: Path, cache: Path, texts: list[str], expected: str) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", texts)
    with pytest.raises(DataError) as caught:
        prepare(files_data(path), cache=cache)
    assert str(caught.value) == f"{path}: {expected}"


def test_an_empty_source_of_a_mix_is_named_before_a_tokenizer_is_trained(
    tmp_path: Path, corpus_file: Path, cache: Path
) -> None:
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    data = files_data(corpus_file, empty, tokenizer={"kind": "bpe", "vocab_size": 300})
    with pytest.raises(DataError, match="empty: there is no text in it") as caught:
        prepare(data, cache=cache)
    assert caught.value.file == str(empty)


def test_a_source_of_duplicates_alone_is_named(tmp_path: Path, corpus_file: Path, cache: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(corpus_file.read_bytes())
    with pytest.raises(DataError, match="every document of it is also in an earlier source") as caught:
        prepare(files_data(corpus_file, copy), cache=cache)
    assert caught.value.file == str(copy)


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "d.jsonl"
    lines = ['{"text": "' + "x" * 70 + str(i) + '\\ud83d"}\n' for i in range(20)]
    path.write_text("".join(lines))
    corpus = prepare(files_data(path, sequence_length=128), cache=cache)
    text = corpus.tokenizer.decode(corpus.train.table(0, 1).inputs[0].tolist())
    assert "\N{REPLACEMENT CHARACTER}" in text


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "characters"])
def test_a_single_text_file_trains_every_kind(real: Callable[[str], Path], cache: Path, kind: str) -> None:
    if kind == "unigram":
        path = cache.parent / "d.txt"
        path.write_text(real("tinyshakespeare.txt").read_text()[:100_000])
    else:
        path = real("tinyshakespeare.txt")
    corpus = prepare(files_data(path, tokenizer={"kind": kind, "vocab_size": 500}), cache=cache)
    assert corpus.facts.vocab_size <= 500
    assert 0.02 < corpus.validation.bytes / (corpus.train.bytes + corpus.validation.bytes) < 0.25
