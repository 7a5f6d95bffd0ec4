"""Files in a store read as files here do, and a store that can't be reached says why."""

import errno
import gzip
import random
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import zstandard

from tests.data.conftest import files_data, make_texts, write_jsonl
from tests.data.test_sources import TEXTS, message, texts_of, write_csv, write_parquet
from toolkit.data.errors import DataError
from toolkit.data.labelled import open_labelled
from toolkit.data.prepare import prepare
from toolkit.data.sources import open_source, remote
from toolkit.data.sources.remote import Remote, find
from toolkit.plan.corpus import data_key
from toolkit.spec.data import Data, FilesSource
from toolkit.spec.labelled import LabelledFiles


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


def upload(store: fsspec.AbstractFileSystem, folder: Path, to: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"{to}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every format and compression, and a hidden file."""
    root = tmp_path / "texts"
    (root / "deep").mkdir(parents=True)
    write_jsonl(root / "a.jsonl", TEXTS)
    plain = (root / "a.jsonl").read_bytes()
    (root / "b.jsonl.gz").write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]))
    compressor = zstandard.ZstdCompressor()
    (root / "c.jsonl.zst").write_bytes(compressor.compress(plain))
    write_csv(root / "d.tsv", TEXTS)
    write_parquet(root / "deep" / "e.parquet", TEXTS)
    (root / "deep" / "f.txt").write_text("a text\n\nin two parts")
    (root / ".hidden").write_bytes(b"\0")
    return root


@pytest.mark.parametrize("pattern", ["", "/**/*", "/*.jsonl*", "/deep/e.parquet"])
def test_a_store_reads_like_a_folder(folder: Path, memory: fsspec.AbstractFileSystem, pattern: str) -> None:
    upload(memory, folder, "bucket/texts")
    expected = texts_of(f"{folder}{pattern}")
    assert len(expected) >= len(TEXTS)
    assert texts_of(f"memory://bucket/texts{pattern}") == expected
    assert texts_of(f"file://{folder}{pattern}") == expected
    source = FilesSource(kind="files", path=f"memory://bucket/texts{pattern}")
    assert [d.text for d in open_source(source).documents(skip=7)] == expected[7:]


def test_the_same_corpus_from_a_store(
    corpus_file: Path, memory: fsspec.AbstractFileSystem, cache: Path
) -> None:
    memory.pipe_file("/bucket/corpus.jsonl", corpus_file.read_bytes())
    data = Data.model_validate(
        files_data(corpus_file).model_dump()
        | {"sources": [{"kind": "files", "path": "memory://bucket/corpus.jsonl"}]}
    )
    first = prepare(data, cache=cache).facts
    assert first.fingerprint == prepare(files_data(corpus_file), cache=cache).facts.fingerprint
    write_jsonl(corpus_file, [*make_texts(300), "one more"])
    memory.pipe_file("/bucket/corpus.jsonl", corpus_file.read_bytes())
    assert prepare(data, cache=cache).facts.fingerprint != first.fingerprint


def test_labelled_rows_of_a_store(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/rows.csv", b"text,label\ngood,yes\nbad,no\n")
    memory.pipe_file("/rows.json", b'[{"text": "good", "label": "yes"}, {"text": "bad", "label": "no"}]')
    for name in ("rows.csv", "rows.json"):
        reader = open_labelled(LabelledFiles(kind="files", path=f"memory://{name}"))
        assert [record.values["label"] for record in reader.train()] == ["yes", "no"]


def test_a_url_has_no_folder_put_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(sources=(FilesSource(kind="files", path="s3://bucket/x"),))
    before = data_key(data)
    monkeypatch.chdir(tmp_path)
    assert data_key(data) == before


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://nowhere/at/all", "memory://nowhere/at/all: no file is there"),
        ("memory://nowhere/*.txt", "no file is there"),
        ("nope://x/y", "no store is reached by nope://"),
        ("simplecache::memory://x", "chained URLs are not read"),
        ("http://127.0.0.1:9/x.txt", "can't be reached: "),
    ],
)
def test_what_is_not_there_is_named(url: str, expected: str) -> None:
    assert expected in message(url)


def test_a_missing_driver_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_driver(url: str, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", without_driver)
    assert message("s3://bucket/x") == "s3://bucket/x: no driver for s3:// is installed: pip install s3fs"


def test_spoiled_content_of_a_store_is_named(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/spoiled.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99)[:-9])
    assert message("memory://spoiled.jsonl.gz").startswith(
        "memory://spoiled.jsonl.gz: the compressed file ends"
    )
    memory.pipe_file("/spoiled.parquet", b"PAR1" + b"\0" * 40)
    assert "not a whole Parquet file" in message("memory://spoiled.parquet")


class Flaky:
    """A driver whose reads break off in the middle, so many times."""

    def __init__(self, driver: fsspec.AbstractFileSystem, breaks: int) -> None:
        self.driver, self.breaks = driver, breaks

    def open(self, path: str, mode: str, **options: object) -> "FlakyFile":
        return FlakyFile(self, self.driver.open(path, mode))


class FlakyFile:
    def __init__(self, owner: Flaky, file: object) -> None:
        self.owner, self.file = owner, file

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)

    def read(self, n: int) -> bytes:
        if self.owner.breaks and self.file.tell() >= 2000:  # type: ignore[attr-defined]
            self.owner.breaks -= 1
            raise RuntimeError("the connection was reset")
        return bytes(self.file.read(min(n, 1000)))  # type: ignore[attr-defined]


def test_a_read_that_breaks_off_goes_on_from_its_place(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))
    content = bytes(range(256)) * 40
    memory.pipe_file("/long.bin", content)
    (file,) = find("memory://long.bin").values()
    for breaks in (1, 2):
        flaky = Flaky(memory, breaks)
        store = remote.Store(flaky, file.path, "memory")
        assert Remote(store, file.path, file.info).read_bytes() == content
        assert flaky.breaks == 0
    store = remote.Store(Flaky(memory, 3), file.path, "memory")
    with pytest.raises(OSError, match="the connection was reset") as caught:
        Remote(store, file.path, file.info).read_bytes()
    assert caught.value.errno == errno.EIO


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The folder by HTTP, from a server that knows no ranges."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_read_by_http(folder: Path, web: str) -> None:
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.tsv", "deep/f.txt"):
        assert texts_of(f"{web}/texts/{name}") == texts_of(folder / name)
        assert texts_of(f"{web}/texts/{name}?signature=x*y") == texts_of(folder / name)
    reader = open_source(FilesSource(kind="files", path=f"{web}/texts/a.jsonl"))
    before = reader.identity()
    assert "Last-Modified" in str(before)
    write_jsonl(folder / "a.jsonl", [*TEXTS, "more"])
    assert reader.identity() != before
    with pytest.raises(DataError, match="can't be reached: 404"):
        list(open_source(FilesSource(kind="files", path=f"{web}/texts/missing.txt")).documents())


def test_a_file_longer_than_a_block_by_http_without_ranges(
    folder: Path, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_BLOCK", 1000)
    assert texts_of(f"{web}/texts/a.jsonl") == TEXTS
    write_parquet(folder / "large.parquet", [random.Random(n).randbytes(500).hex() for n in range(4000)])
    assert "can't be read" in message(f"{web}/texts/large.parquet")
