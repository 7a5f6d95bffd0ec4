"""Documents come out the same whatever holds them, and what can't be read is named."""

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import make_texts, write_jsonl
from toolkit.data.errors import DataError
from toolkit.data.sources import documents, open_source
from toolkit.spec.data import FilesSource, HubSource, PythonStdlibSource

TEXTS = [*make_texts(20), 'quoted "text", with\nnew lines\r\n', "", "last"]


def files(path: Path | str, **fields: str) -> FilesSource:
    return FilesSource(kind="files", path=str(path), **fields)  # type: ignore[arg-type]


def texts_of(path: Path | str, **fields: str) -> list[str]:
    return [document.text for document in documents(files(path, **fields))]


def message(path: Path | str, **fields: str) -> str:
    with pytest.raises(DataError) as caught:
        texts_of(path, **fields)
    return str(caught.value)


def write_parquet(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), path, row_group_size=7)


def write_csv(path: Path, texts: list[str]) -> None:
    with path.open("w", newline="") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *([0, text] for text in texts)])


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet", "d.csv", "d.tsv"])
def test_every_format_of_rows_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    writers: dict[str, Callable[[Path, list[str]], object]] = {
        ".jsonl": write_jsonl,
        ".parquet": write_parquet,
        ".csv": write_csv,
        ".tsv": write_csv,
    }
    writers[path.suffix](path, TEXTS)
    assert texts_of(path) == TEXTS


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["d.jsonl", "d.txt"])
def test_compression_changes_nothing(tmp_path: Path, name: str, ending: str) -> None:
    plain = write_jsonl(tmp_path / name, make_texts(50))
    packed = tmp_path / "packed" / (name + ending)
    packed.parent.mkdir()
    if ending == ".gz":
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with pa.output_stream(str(packed), compression="zstd") as file:
            file.write(plain.read_bytes())
    if name == "d.txt":
        assert "".join(texts_of(packed)) == "".join(texts_of(plain)) == plain.read_text()
    else:
        assert texts_of(packed) == texts_of(plain)


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.gz"
    halves = [json.dumps({"text": text}).encode() + b"\n" for text in ("one", "two")]
    path.write_bytes(b"".join(map(gzip.compress, halves)))
    assert texts_of(path) == ["one", "two"]


def test_a_folder_is_read_in_the_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    for name, text in {"b.txt": "b", "a/z.md": "a", "c.txt": "c", ".git/x": "no", ".hidden": "no"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert texts_of(tmp_path) == ["a", "b", "c"]
    assert texts_of(f"{tmp_path}/**/*.txt") == ["b", "c"]


def test_where_a_source_lies_is_no_part_of_its_identity(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        write_jsonl(tmp_path / place / "d.jsonl", TEXTS)
    here, there = (open_source(files(tmp_path / place)).identity() for place in ("here", "there"))
    assert here == there
    write_jsonl(tmp_path / "there" / "d.jsonl", TEXTS[1:])
    assert open_source(files(tmp_path / "there")).identity() != here


def test_a_change_of_equal_size_and_time_is_noticed(tmp_path: Path) -> None:
    path, cache = tmp_path / "d.txt", tmp_path / "cache"
    path.write_text("one")
    os.utime(path, (1e9, 1e9))
    before = open_source(files(path), cache).identity()
    path.write_text("two")
    os.utime(path, (1e9, 1e9))
    assert open_source(files(path), cache).identity() != before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["word ", "line\n", "\n\n", "é🎉", "x" * 3000, "\r\n"]), max_size=60))
def test_a_text_file_alone_is_cut_but_nothing_is_lost(tmp_path: Path, parts: list[str]) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes("".join(parts).encode())
    assert "".join(texts_of(path)) == "".join(parts)


def test_a_play_is_cut_at_blank_lines(real: Callable[[str], Path]) -> None:
    parts = texts_of(real("tinyshakespeare.txt"))
    assert "".join(parts) == real("tinyshakespeare.txt").read_text()
    assert 100 < len(parts) < 400
    assert all(part.endswith("\n\n") for part in parts[:-1])


@pytest.mark.parametrize("name", ["wiki.jsonl", "c4.jsonl"])
def test_real_rows(real: Callable[[str], Path], name: str) -> None:
    expected = [json.loads(line)["text"] for line in real(name).read_text().splitlines()]
    assert texts_of(real(name)) == expected


def test_skip_goes_on_in_the_same_order(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", TEXTS)
    for source in (files(path), HubSource(kind="hub", path=str(tmp_path), split="train")):
        everything = list(open_source(source).documents())
        assert len(everything) == len(TEXTS)
        assert list(open_source(source).documents(skip=7)) == everything[7:]


def test_the_standard_library_is_in_fixed_order_and_free_of_packages() -> None:
    origins = [document.origin for document in documents(PythonStdlibSource(kind="python_stdlib"))]
    assert origins == [document.origin for document in documents(PythonStdlibSource(kind="python_stdlib"))]
    assert len(origins) == len(set(origins))
    assert {"abc.py", "json/decoder.py"} <= set(origins)
    assert any(origin.startswith("pydoc_data.topics:") for origin in origins)
    assert not any(part in origin.split("/") for origin in origins for part in ("site-packages", "test"))


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("x")
    expected = (
        f"{tmp_path}/corpsu.txt: no such file or folder (relative paths start at {Path.cwd()}). "
        f"Did you mean {tmp_path}/corpus.txt?"
    )
    assert message(tmp_path / "corpsu.txt") == expected


def test_other_paths_that_lead_nowhere(tmp_path: Path) -> None:
    assert message(tmp_path) == f"{tmp_path}: this folder holds no files"
    pattern = f"{tmp_path}/*.txt"
    assert (
        message(pattern) == f"{pattern}: no file matches this pattern (relative paths start at {Path.cwd()})"
    )


def test_binary_and_undecodable_files_are_named_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes(b"a" * 3_000_000 + b"\0")
    assert message(path) == f"{path}: binary, not text: a zero byte at offset 3000000"
    path.write_bytes("é".encode() * 1_000_000 + "é".encode("latin-1") + b" x")
    assert message(path) == (
        f"{path}: not utf-8: invalid continuation byte at byte 2000000; "
        'set encoding, as in encoding = "latin-1"'
    )
    path.write_bytes(b"abc\xe9")
    assert "unexpected end of data at byte 3" in message(path)
    path.write_bytes("naïve".encode("latin-1"))
    assert texts_of(path, encoding="latin-1") == ["naïve"]
    assert (
        message(path, encoding="utf-9")
        == f'{path}: no encoding is called "utf-9"; write "utf-8" or "latin-1"'
    )


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "x"}\n')
    assert texts_of(tmp_path / "d.jsonl") == ["x"]
    (tmp_path / "d.txt").write_bytes("x é".encode("utf-16"))
    assert texts_of(tmp_path / "d.txt", encoding="utf-16") == ["x é"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "x"}\n{"text": \n', ":2: not JSON: Expecting value"),
        ('{"text": "x"}\n[1]\n', ':2: an object was expected, as in {"text": "…"}'),
        (
            '{"content": "x", "texts": 1}\n',
            ':1: no key "text"; set text_key to one of: content, texts. Did you mean texts?',
        ),
        ('{"text": 5}\n', ':1: "text" holds int, not text'),
        ("[" * 100_000, ":1: not JSON: "),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(content)
    assert message(path).startswith(f"{path}{expected}")


def test_a_bad_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id,body\n1,x\n")
    assert message(path) == f'{path}:1: no key "text"; set text_key to one of: id, body.'
    path.write_text("id,text\n1,x\n2\n")
    assert message(path) == f'{path}:3: the row ends before column "text"'
    (tmp_path / "d.parquet").write_bytes(b"PAR1 nonsense")
    assert message(tmp_path / "d.parquet").startswith(f"{tmp_path}/d.parquet: not a whole Parquet file: ")


def test_a_torn_compressed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.txt.gz"
    path.write_bytes(gzip.compress(os.urandom(1000).hex().encode())[:-20])
    assert message(path) == f"{path}: the compressed file ends too early; copy it again"
    path.write_bytes(b"plain text")
    assert message(path).startswith(f"{path}: not a whole gzip file")


def test_a_hub_data_set_without_network_says_why_and_what_to_do() -> None:
    script = (
        "from toolkit.data.sources import documents\n"
        "from toolkit.spec.data import HubSource\n"
        "next(documents(HubSource(kind='hub', path='somebody/something')))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HF_ENDPOINT": "https://hub.invalid"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "somebody/something: can't be reached on the hub: hub.invalid: " in last
    assert last.endswith(
        "To work offline, download it once (`hf download --repo-type dataset somebody/something "
        "--local-dir FOLDER`) and set path to that folder"
    )


def test_a_local_folder_opens_through_datasets(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", TEXTS)
    for streaming in (True, False):
        source = HubSource(kind="hub", path=str(tmp_path), streaming=streaming, max_documents=5)
        assert [document.text for document in documents(source)] == TEXTS[:5]
    with pytest.raises(DataError, match="Bad split: tran"):
        list(documents(HubSource(kind="hub", path=str(tmp_path), split="tran")))
    with pytest.raises(DataError, match='no key "body"; set text_key to one of: text'):
        list(documents(HubSource(kind="hub", path=str(tmp_path), text_key="body")))
