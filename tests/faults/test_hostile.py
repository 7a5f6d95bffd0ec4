"""Files that somebody else wrote: whatever stands in them, an error names the place; nothing leads elsewhere."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.data.errors import DataError
from toolkit.data.tokenizer import TextTokenizer
from toolkit.engine.tensors import WEIGHTS, read_tensors
from toolkit.store.errors import CorruptCheckpoint
from toolkit.store.events import append_event, read_events
from toolkit.store.manifest import MANIFEST, parse_manifest
from toolkit.store.runs import RunFolder

PART = "shard-{:05d}-model-00001-of-00001.safetensors"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {"format": st.just(1) | JSON},
    optional={
        "step": st.integers(-5, 10**12) | JSON,
        "files": st.dictionaries(
            st.sampled_from(["../../etc/passwd", "/etc/passwd", "a/../../b", "", MANIFEST, "x", "n" * 300]),
            st.fixed_dictionaries({"size": st.integers() | JSON, "sha256": st.text(max_size=70)}),
            max_size=3,
        )
        | JSON,
        "info": JSON,
        "parents": JSON,
    },
)


@given(FIELDS)
@settings(max_examples=300, deadline=None)
def test_a_manifest_is_read_or_refused(fields: dict[str, object]) -> None:
    try:
        checkpoint = parse_manifest(json.dumps(fields).encode(), Path("step-00000001"))
    except CorruptCheckpoint:
        return
    assert all(".." not in name.split("/") and not name.startswith("/") for name in checkpoint.files)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_a_manifest_of_any_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptCheckpoint):
        parse_manifest(data, Path("step-00000001"))


@given(st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_events_survive_what_was_written_between_them(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    run = RunFolder(tmp_path_factory.mktemp("runs"), "hostile")
    run.create()
    append_event(run, "created")
    with run.events.open("ab") as file:
        file.write(data)
    append_event(run, "finished")
    kinds = [event["kind"] for event in read_events(run)]
    assert kinds[0] == "created"
    assert kinds[-1] == "finished"


def header(fields: object, body: bytes = b"") -> bytes:
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text + body


HEADERS = st.dictionaries(
    st.sampled_from(["trunk.embed.weight", "__metadata__", "../x", "\x1b[2J", "n" * 300]),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "BF16", "I64", "F99"]),
            "shape": st.lists(st.integers(-1, 2**62), max_size=3),
            "data_offsets": st.lists(st.integers(-1, 2**62), min_size=2, max_size=2),
        }
    )
    | JSON,
    max_size=3,
)


@given(HEADERS.map(header) | st.binary(max_size=200) | st.just(struct.pack("<Q", 2**63)), st.booleans())
@settings(max_examples=200, deadline=None)
def test_weights_of_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, in_parts: bool
) -> None:
    folder = tmp_path_factory.mktemp("step")
    if in_parts:
        (folder / WEIGHTS).mkdir()
    path = (
        folder / WEIGHTS / "shard-00001-model-00001-of-00001.safetensors"
        if in_parts
        else folder / "weights.safetensors"
    )
    path.write_bytes(data)
    try:
        tensors = read_tensors(folder, WEIGHTS)
    except CorruptCheckpoint:
        return
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) <= len(data)


def part(offset: list[int], rows: int, columns: int = 2) -> bytes:
    """A part of a matrix, as PyTorch's distributed checkpoints write it."""
    size = rows * columns * 4
    info = json.dumps({"w": {"saved_offsets": offset}})
    fields = {
        "__metadata__": {"DCP_SHARDING_INFO": info},
        "w": {"dtype": "F32", "shape": [rows, columns], "data_offsets": [0, size]},
    }
    return header(fields, bytes(size))


@pytest.mark.parametrize(
    "parts",
    [
        [part([0, 0], 2), part([3, 0], 1)],
        [part([1, 0], 2)],
        [part([0, 0], 2), part([1, 0], 2)],
        [part([0, 0], 2), part([0, 0], 2), part([4, 0], 1)],
        [part([2**40, 0], 1)],
    ],
    ids=["gap", "beginning missing", "overlap", "twice and gap", "far away"],
)
def test_parts_that_do_not_fill_the_whole_are_refused(tmp_path: Path, parts: list[bytes]) -> None:
    (tmp_path / WEIGHTS).mkdir()
    for number, data in enumerate(parts, 1):
        (tmp_path / WEIGHTS / PART.format(number)).write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match="don't make up the whole"):
        read_tensors(tmp_path, WEIGHTS)


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=100, deadline=None)
def test_a_tokenizer_of_any_bytes_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match="tokenizer"):
        TextTokenizer.read(path)
