"""Several workers make what one alone makes, bit for bit, and go on without the one that dies."""

import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from threading import Thread

import fsspec
import pytest

from tests.data.conftest import files_data, make_texts, write_jsonl
from tests.data.test_prepare import content
from tests.data.test_shared import Watch
from toolkit.data import tokenise
from toolkit.data.crew import Crew
from toolkit.data.errors import DataError, PreparationStopped
from toolkit.data.prepare import prepare
from toolkit.data.shared import SharedCache
from toolkit.data.sources import share
from toolkit.spec.data import Data

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "SHARD_TOKENS", 4000)
    monkeypatch.setattr(tokenise, "_BATCH_DOCUMENTS", 16)
    monkeypatch.setattr(share, "SHARE_BYTES", 8000)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Files with duplicates inside and across them, empty documents, one without text, one compressed."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(12):
        texts = make_texts(60, seed=number)
        texts[10:10] = ["", " \n", texts[3], *make_texts(20, seed=max(0, number - 2))]
        write_jsonl(folder / f"{number:02}.jsonl", texts + [""] * (number % 3))
    write_jsonl(folder / "05b.jsonl", ["", "  "])
    (folder / "99.jsonl.gz").write_bytes(gzip.compress((folder / "03.jsonl").read_bytes()))
    return files_data(folder, tokenizer={"kind": "bpe", "vocab_size": 300})


@pytest.fixture
def expected(data: Data, tmp_path: Path) -> dict[str, str]:
    prepare(data, cache=tmp_path / "one")
    return content(tmp_path / "one")


CHILD = """
import sys
from pathlib import Path
from shutil import copytree
from toolkit.data import tokenise
from toolkit.data.crew import Crew
from toolkit.data.prepare import prepare
from toolkit.data.sources import share
from toolkit.spec.data import Data
tokenise.SHARD_TOKENS, tokenise._BATCH_DOCUMENTS, share.SHARE_BYTES = 4000, 16, 8000
crew = Crew(int(sys.argv[3]), 2)
prepare(Data.model_validate_json(sys.argv[1]), cache=Path(sys.argv[2]), crew=crew)
"""


def node(data: Data, cache: Path, index: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", CHILD, data.model_dump_json(), str(cache), str(index)]
    return subprocess.Popen(command, cwd=ROOT)


def test_two_processes_make_what_one_makes(data: Data, expected: dict[str, str], tmp_path: Path) -> None:
    nodes = [node(data, tmp_path / "two", index) for index in range(2)]
    assert [process.wait(60) for process in nodes] == [0, 0]
    assert content(tmp_path / "two") == expected


def test_two_nodes_are_killed_midway_and_come_back(
    data: Data, expected: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "two"
    nodes = [node(data, cache, index) for index in range(2)]
    deadline = time.monotonic() + 30
    while not any(cache.glob("shares/*/shard-*.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    for process in nodes:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert any(cache.glob("shares/*/shard-*.json"))
    back = [node(data, cache, index) for index in range(2)]
    assert [process.wait(60) for process in back] == [0, 0]
    assert content(cache) == expected


def test_the_shares_of_a_dead_node_are_taken_over(
    data: Data, expected: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "two"
    dies, stays = (node(data, cache, index) for index in range(2))
    deadline = time.monotonic() + 30
    while not any(cache.glob("shares/*-00000/*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    dies.send_signal(signal.SIGKILL)
    assert dies.wait() == -signal.SIGKILL
    assert stays.wait(60) == 0
    assert content(cache) == expected


@pytest.mark.parametrize("step", [3, 7])
def test_stopped_anywhere_it_goes_on_also_as_one_worker(
    data: Data, expected: dict[str, str], tmp_path: Path, step: int
) -> None:
    cache, stops = tmp_path / "two", 0
    copytree(tmp_path / "one" / "tokenizers", cache / "tokenizers")
    for calls in range(2, 400, step):
        # The last attempts have no crew any more, and find the shares all the same.
        crew = Crew(0, 2) if stops < 8 else None
        try:
            prepare(data, cache=cache, crew=crew, progress=Watch(calls))
        except PreparationStopped:
            stops += 1
            continue
        break
    assert stops > 3
    assert content(cache) == expected


def test_three_at_once_wait_for_each_other(data: Data, expected: dict[str, str], tmp_path: Path) -> None:
    """Threads hold the locks of their own open files, as processes do."""
    watches = [Watch() for _ in range(3)]
    cache = tmp_path / "two"
    threads = [
        Thread(
            target=prepare, args=(data,), kwargs={"cache": cache, "crew": Crew(index, 3), "progress": watch}
        )
        for index, watch in enumerate(watches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    phases = [phase for watch in watches for phase in watch.phases]
    assert phases.count("joining shares") == 1
    assert phases.count("packing") == 1
    assert content(cache) == expected


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


def test_nodes_give_each_other_shares_through_a_store(
    data: Data, expected: dict[str, str], tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    def work(name: str, index: int, calls: int = 10**9) -> Watch:
        watch = Watch(calls)
        shared = SharedCache("memory://bucket/tk")
        prepare(data, cache=tmp_path / name, crew=Crew(index, 2), shared=shared, progress=watch)
        return watch

    copytree(tmp_path / "one" / "tokenizers", tmp_path / "a" / "tokenizers")
    copytree(tmp_path / "one" / "tokenizers", tmp_path / "b" / "tokenizers")
    with pytest.raises(PreparationStopped):
        work("a", 0, calls=40)
    given = {path.split("/")[4] for path in store.find("/bucket/tk/shares") if path.endswith("source.json")}
    assert given
    b = work("b", 1)
    assert b.phases.count("pulling shards") == len(given)
    assert content(tmp_path / "b") == expected
    assert not store.find("/bucket/tk/shares")
    again = work("a", 0)
    assert not any(phase.startswith("tokenising") for phase in again.phases)
    assert content(tmp_path / "a") == expected


def test_a_source_without_text_is_told_by_every_worker(tmp_path: Path) -> None:
    for number in range(3):
        write_jsonl(tmp_path / f"{number}.jsonl", [""] * 4000)
    data = files_data(tmp_path / "*.jsonl")
    for index in range(2):
        with pytest.raises(DataError, match="empty: there is no text in it"):
            prepare(data, cache=tmp_path / "cache", crew=Crew(index, 2))


def test_a_file_that_changes_meanwhile_ends_it(data: Data, tmp_path: Path) -> None:
    last = tmp_path / "texts" / "11.jsonl"

    class Changing(Watch):
        def start(self, phase: str, total: int | None) -> None:
            super().start(phase, total)
            if phase.startswith("tokenising share"):
                write_jsonl(last, make_texts(5, seed=99))

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(data, cache=tmp_path / "two", crew=Crew(0, 2), progress=Changing())
    assert not any((tmp_path / "two").glob("shares/*/source.json"))


def test_each_worker_has_all_shares_its_own_first() -> None:
    assert Crew(0, 2).order(7) == [0, 2, 4, 6, 5, 3, 1]
    assert Crew(1, 2).order(7) == [1, 3, 5, 6, 4, 2, 0]
    assert Crew(2, 9).order(7) == [2, 6, 5, 4, 3, 1, 0]
