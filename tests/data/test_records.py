"""A row that can't be read is one bad row: named by file and line, and the rows behind it are read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.data.encoders import TextEncoder
from toolkit.data.errors import DataError
from toolkit.data.prepare_labelled import prepare_labelled
from toolkit.data.records import Record, read_records
from toolkit.data.training import train
from toolkit.spec.data import BytesTokenizer
from toolkit.spec.target import Classify
from toolkit.targets.classify import ClassifyTask

GOOD = 'text,label\nfirst,a\n"second, with a comma\nand a break",b\n'


def read(folder: Path, name: str, content: str) -> list[Record]:
    path = folder / name
    path.write_text(content)
    return list(read_records(path, "conll" if name.endswith("conll") else "csv", "utf-8"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('"open,a\n', "unexpected end of data"),
        ('"closed" and on,a\n', "',' expected after '\"'"),
        ('"open,a\nx,b\ny,"b"\n', "',' expected after '\"'"),
    ],
)
def test_a_bad_quote_is_one_bad_row(tmp_path: Path, bad: str, reason: str) -> None:
    rows = read(tmp_path, "rows.csv", GOOD + bad + "last,a\n")
    problems = [row for row in rows if row.problem]
    assert [row.origin for row in problems] == [f"{tmp_path}/rows.csv:5"]
    assert problems[0].problem == f"not CSV: {reason}"
    good = [row.values["text"] for row in rows if not row.problem]
    behind = ["x", "y"] if "x,b" in bad else []
    assert good == ["first", "second, with a comma\nand a break", *behind, "last"]
    assert rows[-1].origin == f"{tmp_path}/rows.csv:{6 + len(behind)}"


def test_a_header_that_is_no_csv_ends_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows.csv:1: not CSV"):
        read(tmp_path, "rows.csv", '"text"x,label\nfirst,a\n')


@given(st.lists(st.sampled_from(["a,b", '"a,b', 'a",b', '"a",b', '"a""b",c', '"', ""]), max_size=12))
def test_every_line_is_read_or_told_of(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("csv")
    rows = read(folder, "rows.csv", "x,y\n" + "".join(line + "\n" for line in lines))
    # A row's first and last line differ where a quoted field has a break in it.
    told = {int(row.origin.rpartition(":")[2]) for row in rows}
    in_fields = sum(value.count("\n") for row in rows for value in row.values.values())
    empty = sum(not line for line in lines)
    assert len(told) == len(rows)
    assert len(lines) - empty <= len(rows) + in_fields <= len(lines)


def test_a_bad_line_of_conll_is_one_bad_sentence(tmp_path: Path) -> None:
    rows = read(tmp_path, "rows.conll", "EU B\nrejects O\n\nGerman\ncall O\nO\n\nto O\n\nlonely\n")
    assert [(row.values.get("tokens"), row.origin.rpartition(":")[2]) for row in rows] == [
        (["EU", "rejects"], "1"), (None, "4"), (["to"], "8"), (None, "10"),
    ]  # fmt: skip
    assert all("a token and its tag" in (row.problem or "") for row in rows if not row.values)


@pytest.mark.parametrize("skip", [False, True])
def test_the_spec_says_what_becomes_of_it(tmp_path: Path, skip: bool) -> None:
    path = tmp_path / "rows.csv"
    rows = [f"text {number},{'ab'[number % 2]}" for number in range(60)]
    path.write_text("text,label\n" + "\n".join([*rows[:30], '"never closed,a', *rows[30:]]) + "\n")
    section = Classify.model_validate({"kind": "classify", "data": {"kind": "files", "path": str(path)}})
    tokenizer = train(BytesTokenizer(kind="bytes"), [])

    def prepared() -> object:
        form = ClassifyTask.form(section, TextEncoder(tokenizer, 64), 64)
        return prepare_labelled(
            section.data, form, key="k", tokenizer=tokenizer, seed=1, skip_bad=skip, cache=tmp_path / "cache"
        )

    if not skip:
        with pytest.raises(DataError, match=r"rows.csv:32: not CSV: .*on_bad_row = \"skip\""):
            prepared()
        return
    (facts,) = prepared().facts.sources  # type: ignore[attr-defined]
    assert facts.train.rows + facts.validation.rows == 60
    assert facts.skipped == 1
    assert facts.first_skipped is not None
    assert facts.first_skipped.startswith(f"{path}:32: not CSV: ")
