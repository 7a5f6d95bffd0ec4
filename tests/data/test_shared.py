"""A source is tokenised once for all machines; what lies in the shared place damaged is named and passed over."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import files_data, make_texts, write_jsonl
from tests.data.test_prepare import content
from toolkit.data import tokenise
from toolkit.data.errors import DataError, PreparationStopped
from toolkit.data.prepare import prepare
from toolkit.data.progress import Silent
from toolkit.data.shared import SharedCache
from toolkit.spec.data import Data
from toolkit.spec.run import Run

PLACE = "memory://bucket/tk"


class Watch(Silent):
    def __init__(self, calls: int = 10**9) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.calls = calls

    def start(self, phase: str, total: int | None) -> None:
        self.phases.append(phase)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def should_stop(self) -> bool:
        self.calls -= 1
        return self.calls < 0


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "SHARD_TOKENS", 4000)
    monkeypatch.setattr(tokenise, "_BATCH_DOCUMENTS", 16)


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


@pytest.fixture
def data(corpus_file: Path) -> Data:
    return files_data(corpus_file, tokenizer={"kind": "bpe", "vocab_size": 300})


def prepared(data: Data, cache: Path, place: str = PLACE, calls: int = 10**9) -> Watch:
    watch = Watch(calls)
    prepare(data, cache=cache, shared=SharedCache(place), progress=watch)
    return watch


@pytest.mark.parametrize("place", [PLACE, "file://{}/shared", "{}/shared"])
def test_another_machine_pulls_what_one_has_pushed(
    data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem, place: str
) -> None:
    place = place.format(tmp_path)
    first = prepared(data, tmp_path / "one", place)
    assert first.phases == [
        "reading", "training the tokenizer", "tokenising", "pushing shards", "packing",
    ]  # fmt: skip
    second = prepared(data, tmp_path / "two", place)
    assert second.phases == ["pulling shards", "packing"]
    assert first.notes == second.notes == []
    assert content(tmp_path / "one") == content(tmp_path / "two")
    again = prepared(data, tmp_path / "two", place)
    assert again.phases == []


def test_tokens_from_before_are_pushed_too(
    data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    prepare(data, cache=tmp_path / "one")
    assert prepared(data, tmp_path / "one").phases == ["pushing shards"]
    assert "tokenising" not in prepared(data, tmp_path / "two").phases


def shards_there(store: fsspec.AbstractFileSystem, ending: str) -> list[str]:
    return sorted(path for path in store.find("/bucket/tk/tokens") if path.endswith(ending))


def test_half_a_push_does_not_count_and_is_gone_on_with(
    data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    prepare(data, cache=tmp_path / "one")
    with pytest.raises(PreparationStopped):
        prepared(data, tmp_path / "one", calls=2)
    assert shards_there(store, ".tokens")
    assert not shards_there(store, "source.json")
    two = prepared(data, tmp_path / "two")
    assert "tokenising" in two.phases
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert prepared(data, tmp_path / "three").phases == ["pulling shards", "packing"]


def test_a_stopped_pull_goes_on(data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    prepared(data, tmp_path / "one")
    with pytest.raises(PreparationStopped):
        prepared(data, tmp_path / "two", calls=2)
    assert not list((tmp_path / "two").rglob("source.json"))
    prepared(data, tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")


def flip(store: fsspec.AbstractFileSystem, path: str, place: float) -> None:
    old = bytearray(store.cat_file(path))
    old[int(place * (len(old) - 1))] ^= 1
    store.pipe_file(path, bytes(old))


@pytest.mark.parametrize("ending", ["2.tokens", "2.documents", "2.json", "source.json"])
@pytest.mark.parametrize("how", ["flipped", "shorter", "longer", "gone"])
def test_what_is_damaged_there_is_named_and_mended(
    data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem, ending: str, how: str
) -> None:
    prepared(data, tmp_path / "one")
    damaged = shards_there(store, ending)[0]
    old = store.cat_file(damaged)
    match how:
        case "flipped":
            flip(store, damaged, 0.5)
        case "shorter":
            store.pipe_file(damaged, old[:-5])
        case "longer":
            store.pipe_file(damaged, old + b"{}")
        case _:
            store.rm(damaged)
    two = prepared(data, tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert "tokenising" in two.phases
    if (ending, how) != ("source.json", "gone"):  # then nothing was pushed
        assert len(two.notes) == 1
        assert "is passed over: " in two.notes[0]
        assert damaged.rpartition("/")[2].partition(".")[0] in two.notes[0]
    assert store.cat_file(damaged) == old
    assert "tokenising" not in prepared(data, tmp_path / "three").phases


def test_a_damaged_tokenizer_is_trained_again(
    data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    prepared(data, tmp_path / "one")
    (kept,) = store.find("/bucket/tk/tokenizers")
    flip(store, kept, 0.6)
    two = prepared(data, tmp_path / "two")
    assert "training the tokenizer" in two.phases
    assert "tokenizers" in two.notes[0]
    assert content(tmp_path / "one") == content(tmp_path / "two")


COUNT = st.integers(-(2**70), 2**70)
HOSTILE = st.dictionaries(
    st.sampled_from(
        ["dtype", "tokens", "documents", "bytes", "so_far", "sha256", "shards", "totals", "digest"]
    ),
    st.one_of(
        COUNT,
        st.sampled_from(["<u2", "<u8", "|O", "../../x", "<u4"]),
        st.fixed_dictionaries({"read": COUNT, "duplicates": COUNT, "skipped": COUNT}),
        st.dictionaries(
            st.sampled_from([".tokens", "/../../../escaped", ".documents"]), st.text(max_size=64)
        ),
    ),
    min_size=1,
)


@given(edit=HOSTILE, source=st.booleans())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_json_harms_nothing(
    data: Data,
    tmp_path: Path,
    store: fsspec.AbstractFileSystem,
    edit: dict[str, object],
    source: bool,
) -> None:
    root = tmp_path / os.urandom(4).hex()
    prepare(data, cache=tmp_path / "expected")
    prepared(data, root / "one")
    path = shards_there(store, "source.json" if source else "1.json")[0]
    old = json.loads(store.cat_file(path))
    store.pipe_file(path, json.dumps(old | edit).encode())
    prepared(data, root / "two")
    assert content(root / "two") == content(tmp_path / "expected")
    assert {p.name for p in tmp_path.iterdir()} <= {root.name, "expected", "corpus.jsonl"} | {
        p.name for p in tmp_path.iterdir() if len(p.name) == 8
    }


def test_a_place_that_can_not_be_reached_stops_the_run(data: Data, cache: Path) -> None:
    with pytest.raises(DataError, match=r"run.shards can't be reached|can't be opened|no driver"):
        prepared(data, cache, "webhdfs://127.0.0.1:9/x")


def test_a_missing_driver_is_one_error_with_the_way_out(
    data: Data, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(DataError) as error:
        prepared(data, cache, "s3://bucket/tk")
    assert str(error.value) == "s3://bucket/tk: no driver for s3:// is installed: pip install s3fs"


@pytest.mark.parametrize("place", ["s3://id:secret@bucket/tk", "https://host/tk?X-Amz-Signature=1"])
def test_credentials_are_refused_in_a_spec(place: str) -> None:
    with pytest.raises(ValueError, match="shards: holds credentials"):
        Run(shards=place)
    Run(shards="s3://bucket/tk")


def test_a_place_that_can_not_be_written_is_told_of(
    data: Data, tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(store), "pipe_file", refuse)
    watch = prepared(data, tmp_path / "one")
    assert [note.count("was not pushed: Access Denied") for note in watch.notes] == [1, 1]


def test_other_data_is_not_taken_for_it(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    for number in range(2):
        path = write_jsonl(tmp_path / f"{number}.jsonl", make_texts(100, seed=number))
        assert "tokenising" in prepared(files_data(path), tmp_path / f"cache{number}").phases
