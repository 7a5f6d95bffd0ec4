import json
import math
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.store.atomic import append_line, parse_json, read_json, to_json, write_atomic
from toolkit.store.errors import BadFile

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_atomic(path, to_json({"n": 0, "fill": "x" * 50_000}))
    done = threading.Event()

    def write() -> None:
        for count in range(200):
            write_atomic(path, to_json({"n": count, "fill": "x" * 50_000}), durable=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        fields = read_json(path)
        assert len(fields["fill"]) == 50_000
        seen.add(fields["n"])
    writer.join()
    assert len(seen) > 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(path, b"a folder cannot be replaced by a file")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5))
def test_json_round_trips_and_is_canonical(fields: dict[str, object]) -> None:
    data = to_json(fields)
    assert parse_json(data, Path("x")) == fields
    assert to_json(dict(reversed(fields.items()))) == data


def test_not_a_number_is_kept_as_text_that_float_reads() -> None:
    fields = json.loads(to_json({"loss": [math.nan, math.inf, -math.inf]}))
    nan, up, down = map(float, fields["loss"])
    assert math.isnan(nan)
    assert (up, down) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1, "b": 2, "a": 3}', "key 'a' appears twice"),
        (b'{"a": ', "Expecting value"),
        (b"[1]", "should hold a JSON object"),
        (b'{"a": ' + b"[" * 100_000, ""),
        (b"\xff\xfe\x00", ""),
    ],
)
def test_bad_json_names_the_file_and_the_problem(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(data)
    with pytest.raises(BadFile) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def test_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(b'{"a": 1}')
    with pytest.raises(BadFile, match="larger than 4 bytes"):
        read_json(path, limit=4)


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            for count in range(50):
                append_line(path, {"writer": writer, "count": count, "fill": "y" * writer * 500})
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    # A writer that sees half of another's line begins a new one: an empty line, which readers pass over.
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    for writer in range(4):
        assert [line["count"] for line in lines if line["writer"] == writer] == list(range(50))
