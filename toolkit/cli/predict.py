"""`tk predict`: put a fine-tuned model to use."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from toolkit.cli.options import Json, Reference, Runs

if TYPE_CHECKING:
    from toolkit.data.records import Record
    from toolkit.evals.prediction import Predictor
    from toolkit.targets.target import Example


def predict(
    run: Reference,
    text: Annotated[str | None, typer.Argument(help="One row: a text, or a JSON object with fields.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="Rows of a JSONL, JSON, CSV, Parquet or CoNLL file, or lines of a text."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows computed at once.")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Answer a row that can't be read with its error, and go on.")
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Put a fine-tuned model to use.

    It reads a text, the rows of a file, or the lines of standard input. A line is a text, or a JSON object where a
    row has several fields. Answers come in the order of the rows, one a line; --json gives all that is known of
    each, as JSON lines.

    \b
    Examples:
      tk predict news_classifier/news "Shares fell after the report."
      tk predict news_classifier/news --file articles.jsonl --json
      cat lines.txt | tk predict translator/english
    """
    import sys

    from toolkit.cli.errors import BadInput
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.runs import runs_root

    if text is not None and file is not None:
        raise BadInput("a text and --file were given. Leave out one of them.")
    _, checkpoint = find_checkpoint(run, runs_root(runs))
    if file is not None and not file.exists():
        raise BadInput(f"there is no {file}.")
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.evals.prediction import Predictor

    predictor = Predictor(checkpoint, device)
    interactive = text is None and file is None and sys.stdin.isatty()
    if interactive:
        print("One row a line; Ctrl-D ends.", file=sys.stderr)
    rows = _rows(predictor, text, file)
    for chunk in _chunks(_read(predictor, rows, skip_bad), 1 if interactive else batch):
        good = [(record.values, found) for record, found in chunk if not isinstance(found, str)]
        answers = iter(
            predictor.predict([row for row, _ in good], [found for _, found in good]) if good else []
        )
        for record, found in chunk:
            _say(record, {"error": found} if isinstance(found, str) else next(answers), as_json)


def _rows(predictor: "Predictor", text: str | None, file: Path | None) -> "Iterator[Record]":
    import sys

    from toolkit.data.labelled import open_labelled
    from toolkit.spec.labelled import LabelledFiles

    if text is not None:
        yield _record(predictor, text, "the text")
    elif file is None:
        yield from _lines(predictor, sys.stdin, "stdin")
    elif file.suffix in ("", ".txt", ".log"):
        with file.open(encoding="utf-8") as lines:
            yield from _lines(predictor, lines, str(file))
    else:
        yield from open_labelled(LabelledFiles(kind="files", path=str(file))).train()


def _lines(predictor: "Predictor", lines: TextIO, name: str) -> "Iterator[Record]":
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _record(predictor, line.rstrip("\n"), f"{name}:{number}")


def _record(predictor: "Predictor", text: str, origin: str) -> "Record":
    import json

    from toolkit.data.errors import DataError
    from toolkit.data.records import Record

    if text.lstrip().startswith("{"):
        try:
            return Record(json.loads(text), origin)
        except (ValueError, RecursionError):
            pass  # a text that begins with a brace
    try:
        return Record(predictor.row(text), origin)
    except ValueError as error:
        raise DataError(origin, f"{error}.") from error


def _read(
    predictor: "Predictor", rows: "Iterator[Record]", skip_bad: bool
) -> "Iterator[tuple[Record, Example | str]]":
    from toolkit.data.errors import DataError

    for record in rows:
        try:
            if record.problem:
                raise ValueError(record.problem)
            yield record, predictor.read(record.values)
        except ValueError as error:
            if not skip_bad:
                raise DataError(record.origin, f"{error}. --skip-bad passes over such rows.") from error
            yield record, str(error)


def _chunks(items: "Iterator[Any]", size: int) -> Iterator[list[Any]]:
    from itertools import islice

    while chunk := list(islice(items, size)):
        yield chunk


def _say(record: "Record", answer: dict[str, Any], as_json: bool) -> None:
    import json

    from toolkit.store.text import sanitize

    if as_json:
        print(json.dumps({"row": record.origin, **answer}), flush=True)
        return
    value = next(iter(answer.values()))
    if "error" in answer:
        value = f"error: {value}"
    elif isinstance(value, list):
        value = " ".join(map(str, value))
    print(sanitize(str(value), multiline=True), flush=True)
