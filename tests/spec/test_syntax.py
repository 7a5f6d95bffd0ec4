"""Syntax errors read like every other mistake, and reading goes on behind them within bounds."""

import time
from collections.abc import Callable

import pytest

from tests.spec.conftest import SOUND

Mistakes = Callable[..., str]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"tiny"', "tiny", '1:8  name: tiny is not a TOML value. Put text in quotes: "tiny".'),
        ('"tiny"', '"tiny', "1:13  name: the text has no closing quote on its line."),
        ("seed = 3", "seed = True", "2:8  seed: True is not a TOML value. Write true."),
        ("seed = 3", "seed = None", "2:8  seed: TOML has no None. Leave the key out."),
        ("seed = 3", "seed =", "2:7  seed: the value is missing."),
        ("seed = 3", "seed 3", "2:6  expected '=' after a key in a key/value pair."),
        ("seed = 3", "seed = 3\nseed = 4", "3:1  seed: given twice. Keep one of them."),
        (
            "n_layers = 2",
            "n_layers = 2\nn_layers = 2",
            "12:1  model.n_layers: given twice. Keep one of them.",
        ),
        ("[run]", "[model]", "24:2  model: given twice. Keep one of them."),
        ('"100 steps"', "100 steps", "train.duration: 'steps' stands after the value. Put text in quotes."),
        (
            "lr = 0.02",
            "lr = o.o2",
            '21:35  train.optimizer: o.o2 is not a TOML value. Put text in quotes: "o.o2".',
        ),
        ("lr = 0.02", "lr = 0.02,\n", "21:40  a table in braces must end on the line it begins on."),
        ("[train]", "[train", "18:7  train: expected ']' at the end of a table declaration."),
    ],
)
def test_a_syntax_error_is_told_alone(mistakes: Mistakes, old: str, new: str, said: str) -> None:
    assert old in SOUND
    first, *rest = mistakes(SOUND.replace(old, new, 1)).splitlines()
    assert said in first
    assert rest == ["1 error. Nothing was run."]


def test_reading_goes_on_behind_syntax_errors(mistakes: Mistakes) -> None:
    text = SOUND.replace("seed = 3", "seed = three").replace("n_heads", "n_head").replace('"1Ki', "1Ki")
    text = text.replace("[run]", "keep = [1,\n  2\n[run]\ndevise = 1")
    assert [line.partition("  ")[0] for line in mistakes(text).splitlines()[:-1]] == [
        "s.toml:2:8",
        "s.toml:13:1",
        "s.toml:20:10",
        "s.toml:26:1",
        "s.toml:27:1",
    ]


HOSTILE = {
    "deep lists": "a = " + "[" * 200_000,
    "deep tables": "a = " + "{a=" * 200_000,
    "long dotted key": "a." * 400_000 + "b = 1",
    "many dotted keys": "\n".join("a." * 200 + f"b{i} = 1" for i in range(400)),
    "open list": "a = [" + "1,\n" * 300_000,
    "no statements": "name\n" * 190_000,
    "one long line": "name = " + "x" * 900_000,
    "long number": "seed = " + "9" * 100_000,
    "long hexadecimal": "seed = 0x" + "f" * 100_000,
    "long kind": '[model]\nkind = "' + "x" * 900_000 + '"',
    "long key": "x" * 900_000 + " = 1",
    "control characters": 'name = "\x1b]0;owned\x07"\n\x00 = 1\n',
    "closed deep list": "a = " + "[" * 40 + "]" * 40,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_refused_soon_and_in_few_words(mistakes: Mistakes, text: str) -> None:
    start = time.process_time()
    report = mistakes(text)
    assert time.process_time() - start < 20
    assert report.count("\n") <= 60
    assert max(map(len, report.splitlines())) < 400
    assert all(character.isprintable() or character == "\n" for character in report)
