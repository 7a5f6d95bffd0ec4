"""Few-shot prompts (Brown 2020): worked examples before the question, so that a language model shows what it makes of
its context."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.data.errors import DataError
from toolkit.data.labelled import open_labelled
from toolkit.data.tokenizer import TextTokenizer
from toolkit.spec.labelled import Labelled, LabelledFiles

PAIRS = (
    ("prompt", "completion"),
    ("prompt", "body"),
    ("instruction", "output"),
    ("question", "answer"),
    ("source", "target"),
    ("input", "output"),
    ("text", "label"),
    ("text", "value"),
)
"""Fields of a row that are a question and its answer, in the order in which they are looked for."""
FORMAT = "{input} => {output}"
READ = 20_000
"""Rows of a file that examples are drawn from."""


class Shot(NamedTuple):
    """A worked example."""

    input: str
    output: str


def read_shots(source: Labelled | Path, n: int | None, seed: int) -> list[Shot]:
    """Examples of a file or of labelled rows: `n` of them drawn by the seed, or all. Raises DataError."""
    section = LabelledFiles(kind="files", path=str(source)) if isinstance(source, Path) else source
    reader = open_labelled(section)
    reader.identity()  # says what is missing
    found = []
    for record, _ in zip(reader.train(), range(READ), strict=False):
        if record.problem:
            raise DataError(record.origin, record.problem)
        shot = as_shot(record.values)
        if shot is None:
            known = ", ".join(f"{a} and {b}" for a, b in PAIRS)
            raise DataError(
                record.origin, f"has no question with its answer: an example has the fields {known}"
            )
        found.append(shot)
    if not found:
        raise DataError(reader.name, "holds no example")
    return found if n is None or n >= len(found) else random.Random(seed).sample(found, n)


def as_shot(row: Mapping[str, Any]) -> Shot | None:
    """The question and answer of a row; None where it has none."""
    for asked, answered in PAIRS:
        if row.get(asked) is not None and row.get(answered) is not None:
            return Shot(str(row[asked]).strip(), str(row[answered]).strip())
    return None


def few_shot_prompt(
    shots: Sequence[Shot], question: str, tokenizer: TextTokenizer, *, room: int, form: str = FORMAT
) -> tuple[str, int]:
    """The prompt, and how many examples of the last are in it: as many as fit in `room` tokens.

    `form` has {input} and {output}, and the question is written up to its output. Raises ValueError for a form
    without them.
    """
    lead, _, rest = form.partition("{input}")
    middle, mark, end = rest.partition("{output}")
    if not mark:
        raise ValueError(f"{form!r} needs {{input}} and, behind it, {{output}}")
    query = f"{lead}{question}{middle}".rstrip()
    kept: list[str] = []
    used = len(tokenizer.encode(query)) + 1
    for shot in reversed(shots):
        text = f"{lead}{shot.input}{middle}{shot.output}{end}"
        used += len(tokenizer.encode(text + "\n"))
        if used > room:
            break
        kept.insert(0, text)
    return "\n".join([*kept, query]), len(kept)
