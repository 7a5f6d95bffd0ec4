"""Rows for targets whose kind of labels the sample data lacks, made by rules from real rows:

    python tests/bench/derive_rows.py ../shared/data rows

- tags.{train,test}.conll: weekdays, numbers and capitalised names in AG News;
- span.{train,test}.jsonl: the weekday in a news item that names just one;
- options.{train,test}.jsonl: the topic of a news item, as a question with four options;
- uses.{train,test}.jsonl: which statements and built-ins a function of the standard library uses.
"""

import argparse
import ast
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toolkit.data.functions import Functions
from toolkit.spec.labelled import PythonFunctions

DAY = re.compile(r"\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b")
TOPICS = ["World", "Sports", "Business", "Sci/Tech"]
STATEMENTS = ("For", "If", "While", "Try", "Raise", "Return", "With", "Yield")
NAMES = {
    *("len", "isinstance", "range", "str", "int", "getattr", "list", "tuple", "print", "open", "hasattr"),
    *("super", "ValueError", "TypeError"),
}
WORDS = 40
HELD_OUT = 300


def tags(words: list[str]) -> Iterator[str]:
    """The tag of each word, by what the word looks like and what stands before it."""
    before = "O"
    for place, word in enumerate(words):
        bare = word.strip(".,;:()'\"")
        tag = "O"
        if DAY.fullmatch(bare.capitalize()):
            tag = "B-DAY"
        elif re.fullmatch(r"\$?\d[\d,.]*%?", word.strip(".,;:()")):
            tag = "B-NUM"
        elif place and re.fullmatch(r"[A-Z][a-z]+", bare):
            goes_on = before.endswith("NAME") and not words[place - 1].endswith((".", ",", ";", ":"))
            tag = "I-NAME" if goes_on else "B-NAME"
        yield tag
        before = tag


def news(path: Path, out: Path, part: str) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    sentences = [row["text"].split()[:WORDS] for row in rows]
    (out / f"tags.{part}.conll").write_text(
        "\n".join(
            "".join(f"{word} {tag}\n" for word, tag in zip(words, tags(words), strict=True))
            for words in sentences
        )
    )
    write(out / f"span.{part}.jsonl", spans(rows))
    asked = {"question": "What is the news about?", "choices": TOPICS}
    write(
        out / f"options.{part}.jsonl",
        ({"context": row["text"], **asked, "answer": row["label"]} for row in rows),
    )


def spans(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        days = list(DAY.finditer(row["text"]))
        if len(days) == 1:
            answer = {"text": [days[0][0]], "answer_start": [days[0].start()]}
            yield {"context": row["text"], "question": "On which day?", "answer": answer}


def functions(out: Path) -> None:
    rows = []
    source = PythonFunctions(kind="python_stdlib_functions", packages=40)
    for record in Functions(source).train():
        code = record.values["code"]
        nodes = list(ast.walk(ast.parse(code)))
        used = {name.lower() for name in STATEMENTS if any(isinstance(n, getattr(ast, name)) for n in nodes)}
        used |= {node.id for node in nodes if isinstance(node, ast.Name) and node.id in NAMES}
        rows.append({"text": code, "labels": sorted(used)})
    random.Random(0).shuffle(rows)
    write(out / "uses.test.jsonl", rows[:HELD_OUT])
    write(out / "uses.train.jsonl", rows[HELD_OUT:])


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of sample data")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        news(given.data / "classify" / f"ag_news.{part}.jsonl", given.out, part)
    functions(given.out)


if __name__ == "__main__":
    main()
