"""Labelled rows that somebody else wrote: read, or refused with the file's name and the row; nothing else comes out."""

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from toolkit.data.encoders import TextEncoder
from toolkit.data.errors import DataError
from toolkit.data.prepare_labelled import prepare_labelled
from toolkit.data.training import train
from toolkit.spec.data import BytesTokenizer, WordPieceTokenizer
from toolkit.spec.target import Finetune
from toolkit.targets.registry import TARGETS
from toolkit.targets.target import Form

BOUNDED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONGEST = 24
TARGETS_OF_TEXT: dict[str, dict[str, Any]] = {
    "classify": {"kind": "classify"},
    "pair": {"kind": "classify", "input_key": ["text", "context"]},
    "regress": {"kind": "regress"},
    "multilabel": {"kind": "multilabel"},
    "tag": {"kind": "tag"},
    "chat": {"kind": "chat"},
    "completion": {"kind": "chat", "prompt_key": "text", "completion_key": "target"},
    "span": {"kind": "answer"},
    "options": {"kind": "answer", "options_key": "options"},
    "choice": {"kind": "answer", "options": ["yes", "no"]},
    "translate": {"kind": "translate"},
}
TEXT = st.sampled_from(["lorem ipsum", "a", "", " ", "yes", "\ud800", "\x00", "\x1b[2J", "x" * 90]) | st.text(
    max_size=12
)
NUMBER = (
    st.sampled_from([0, -1, 1, 2**70, 10**400, 1e308, math.inf, math.nan, True]) | st.integers() | st.floats()
)
LEAF = st.none() | NUMBER | TEXT
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
TEXTS = st.lists(TEXT, max_size=4)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON, "content": TEXT | JSON},
    optional={"from": JSON, "value": JSON, "tool_calls": JSON},
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "label": st.sampled_from(["a", "b", 3]),
    "labels": TEXTS | st.just("a, b"),
    "value": NUMBER,
    "tokens": TEXTS,
    "tags": st.lists(st.sampled_from(["O", "B-X", "I-X", ""]), max_size=4),
    "messages": st.lists(MESSAGE, max_size=3),
    "conversations": st.lists(MESSAGE, max_size=3),
    "instruction": TEXT,
    "history": st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=2),
    "context": TEXT,
    "question": TEXT,
    "answer": TEXT | st.fixed_dictionaries({"text": TEXTS, "answer_start": st.lists(NUMBER, max_size=2)}),
    "options": TEXTS | st.dictionaries(TEXT, TEXT, max_size=3),
    "source": TEXT,
    "target": TEXT,
    "output": TEXT,
    "input": TEXT,
    "system": TEXT,
}
READS = {
    "classify": ["text", "label"],
    "pair": ["text", "context", "label"],
    "regress": ["text", "value"],
    "multilabel": ["text", "labels"],
    "tag": ["tokens", "tags"],
    "completion": ["text", "target"],
    "span": ["context", "question", "answer"],
    "options": ["context", "answer", "options"],
    "choice": ["context", "question", "answer"],
    "translate": ["source", "target"],
}


def rows_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Rows with what the target reads, often as it should be; and rows of anything."""
    likely = {name: strategy | JSON for name, strategy in FIELDS.items()}
    if kind not in READS:
        return st.fixed_dictionaries({}, optional=likely)
    right = st.fixed_dictionaries({name: FIELDS[name] for name in READS[kind]})
    return (
        right
        | st.fixed_dictionaries({name: likely[name] for name in READS[kind]})
        | st.fixed_dictionaries({}, optional={name: likely[name] for name in READS[kind]})
    )


def make_form(kind: str) -> Form:
    section = TypeAdapter(Finetune).validate_python(
        {"data": {"kind": "files", "path": "rows"}, **TARGETS_OF_TEXT[kind]}
    )
    spec = WordPieceTokenizer(kind="wordpiece") if kind in ("tag", "span") else BytesTokenizer(kind="bytes")
    tokenizer = train(spec, ["lorem ipsum yes no"])
    return TARGETS[section.kind].form(section, TextEncoder(tokenizer, LONGEST), LONGEST)


def read(form: Form, file: Path, *, skip_bad: bool) -> None:
    """Prepared as for a run. Raises DataError, which must name the file."""
    source = form.section.data.model_copy(update={"path": str(file), "validation": 0.5})
    try:
        dataset = prepare_labelled(
            source, form, key="k", tokenizer=None, seed=0, skip_bad=skip_bad, cache=file.parent / "cache"
        )
    except DataError as error:
        named = str(file) in str(error)
    else:
        named = True
        rows = dataset.train.table(0, dataset.train.n_rows)
        assert isinstance(rows, dict)
        assert all(len(values) == dataset.train.n_rows for values in rows.values())
        if "lengths" in rows:
            assert rows["lengths"].max() <= LONGEST, "a row is as long as the model takes, at most"
    assert named


@pytest.mark.parametrize("kind", TARGETS_OF_TEXT)
def test_rows_of_any_json_are_read_or_refused(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    form = make_form(kind)

    @given(st.lists(rows_of(kind), min_size=1, max_size=5), st.booleans())
    @BOUNDED
    def check(rows: list[dict[str, Any]], skip_bad: bool) -> None:
        file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read(form, file, skip_bad=skip_bad)

    check()


CELLS = st.text(max_size=15) | st.sampled_from(
    ['"', '""', "a,b", "\r", "a\tb", "O", "B-X", "-DOCSTART-", "1"]
)
TABLES = st.lists(st.lists(CELLS, max_size=3), min_size=1, max_size=5)


def csv_bytes(rows: list[list[str]]) -> bytes:
    return "\n".join(",".join(row) for row in [["text", "label"], *rows]).encode(errors="replace")


def conll_bytes(rows: list[list[str]]) -> bytes:
    return "\n".join(" ".join(row) for row in rows).encode(errors="replace")


@pytest.mark.parametrize(
    ("kind", "ending", "make"),
    [("classify", "csv", csv_bytes), ("tag", "conll", conll_bytes)],
)
def test_tables_of_any_text_are_read_or_refused(
    kind: str,
    ending: str,
    make: Callable[[list[list[str]]], bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    form = make_form(kind)

    @given(TABLES, st.booleans())
    @BOUNDED
    def check(rows: list[list[str]], skip_bad: bool) -> None:
        file = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
        file.write_bytes(make(rows))
        read(form, file, skip_bad=skip_bad)

    check()


@pytest.mark.parametrize(
    "ending", ["jsonl", "json", "csv", "tsv", "conll", "parquet", "jsonl.gz", "csv.zst", "JSONL", "txt"]
)
def test_files_of_any_bytes_are_read_or_refused(
    ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    form = make_form("classify")
    whole = gzip.compress(b'{"text": "a", "label": "b"}\n' * 4)
    starts = [
        b"",
        b"PAR1",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"[" * 99_999,
        whole,
        whole[:-9],
        b"\x28\xb5\x2f\xfd",
        b"\x00",
    ]

    @given(st.sampled_from(starts), st.binary(max_size=80))
    @BOUNDED
    def check(start: bytes, rest: bytes) -> None:
        file = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
        file.write_bytes(start + rest)
        read(form, file, skip_bad=False)

    check()


def test_a_parquet_file_with_bytes_flipped_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    form = make_form("classify")
    file = tmp_path_factory.mktemp("whole") / "rows.parquet"
    table = pyarrow.table({"text": [f"lorem {i}" for i in range(20)], "label": list("ab" * 10)})
    parquet.write_table(table, file)
    whole = file.read_bytes()

    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), min_size=1, max_size=4))
    @BOUNDED
    def check(flips: list[tuple[int, int]]) -> None:
        spoiled = bytearray(whole)
        for place, bits in flips:
            spoiled[place] ^= bits
        other = tmp_path_factory.mktemp("rows") / "rows.parquet"
        other.write_bytes(spoiled)
        read(form, other, skip_bad=False)

    check()


def test_parquet_columns_of_any_type_are_read_or_refused(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import datetime
    import decimal

    columns: list[list[Any]] = [
        [b"a", b"b", b"a"],
        [datetime.datetime(2020, 1, 1), None, datetime.datetime(1, 1, 1)],
        [decimal.Decimal("1.5"), decimal.Decimal("-1"), None],
        [{"bytes": b"x", "path": "../../etc/passwd"}, None, {"bytes": None, "path": "/etc/passwd"}],
        [["a", None], [], ["b"]],
        [math.nan, math.inf, None],
        [datetime.timedelta(1), None, None],
        [None, None, None],
    ]
    right = {
        "text": ["a", "b", "c"],
        "label": ["a", "b", "a"],
        "value": [1, 2, 3],
        "labels": [["a"], ["b"], []],
    }
    right |= {"tokens": [["a"], ["b"], ["c"]], "tags": [["O"], ["O"], ["B-X"]]}
    for kind in ("classify", "regress", "multilabel", "tag"):
        form = make_form(kind)
        for number, column in enumerate(columns):
            for name in READS[kind]:
                file = tmp_path / f"{kind}-{name}-{number}.parquet"
                parquet.write_table(pyarrow.table({**right, name: column}), file)
                read(form, file, skip_bad=number % 2 == 0)
