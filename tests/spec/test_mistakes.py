"""Every mistake of a spec is found in one go, once, at its place, with a way out."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.spec.conftest import SOUND
from toolkit.spec.errors import SpecErrors
from toolkit.spec.load import load_spec

Mistakes = Callable[..., str]

GOLDEN = Path(__file__).parent / "golden"


def test_all_mistakes_of_a_file_in_one_go(mistakes: Mistakes) -> None:
    text = (GOLDEN / "mistakes.toml").read_text()
    assert mistakes(text) + "\n" == (GOLDEN / "mistakes.txt").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n_heads = 4", "n_heads = 5", "12:11  model.d_model: 64 is not divisible by n_heads = 5. "),
        (
            "n_heads = 4",
            "n_heads = 4\nn_kv_heads = 3",
            "14:14  model.n_kv_heads: 3 doesn't divide n_heads = 4.",
        ),
        (
            "n_heads = 4",
            "n_heads = 4\nmax_sequence_length = 32",
            "5:19  data.sequence_length: 64 is longer than model.max_sequence_length = 32.",
        ),
        (
            '"1Ki tokens"',
            '"32 tokens"',
            '20:9  train.batch: "32 tokens" is less than one row of data.sequence_length = 64 tokens.',
        ),
        (
            "n_layers = 2",
            "n_layers = true",
            "11:12  model.n_layers: must be a whole number from 1 to 1024, not true.",
        ),
        (
            "n_layers = 2",
            "n_layers = 2.0",
            "11:12  model.n_layers: must be a whole number from 1 to 1024, not 2.0.",
        ),
        ("lr = 0.02", "lr = nan", "21:35  train.optimizer.lr: must be a number above 0, not nan."),
        ("lr = 0.02", "momentum = 1", "must be a number at least 0 and below 1, not 1."),
        (
            "lr = 0.02",
            "betas = [0.9]",
            "train.optimizer.betas: must be a list of 2 values, each a number at least 0",
        ),
        ("lr = 0.02", "warmup = 3", "optimizer.warmup: unknown key. Did you mean train.schedule.warmup?"),
        ("lr = 0.02", "weather = 3", "unknown key. Known here: kind, lr, momentum,"),
        ("seed = 3", "block_size = 64", "2:1  block_size: unknown key. Did you mean data.sequence_length?"),
        ("seed = 3", "seed = 2024-01-01", "2:8  seed: must be a whole number"),
        ("seed = 3", 'run = "x"', '2:7  run: must be a table, not "x".'),
        (
            "vocab_size = 512",
            "lowercase = true",
            "data.tokenizer.lowercase: unknown key. Known here: kind, vocab_",
        ),
        ('kind = "bpe", ', "", '6:13  data.tokenizer.kind: missing. Write "bpe", "unigram",'),
        ('kind = "bpe"', "kind = 3", '6:22  data.tokenizer.kind: 3 is unknown. Write "bpe", "unigram",'),
        ('kind = "gpt"\n', "", '9:2  model.kind: missing. Write "gpt", "bert", "modernbert" or "vit".'),
        (
            'batch = "1Ki tokens"\n',
            "",
            '18:2  train.batch: missing. Write a number and a unit in quotes, like "16k',
        ),
        (
            '{ kind = "files", path = "a.txt" }, { kind = "python_stdlib", weight = 2.0 }',
            "",
            "7:11  data.sources: must hold at least 1 of them, not 0.",
        ),
        ('{ kind = "files", path = "a.txt" }', "3", "7:12  data.sources.0: must be a table with kind ="),
        (
            "keep = {",
            'device = "gpu"\nkeep = {',
            '26:10  run.device: must be "auto", "cpu", "mps", "cuda" or "cuda:N"',
        ),
        ("[run]", "[rnu]", "24:2  rnu: unknown key. Did you mean run?"),
        ('"tiny"', '"tiny"\nextends = 3', "2:11  extends: must be the path of a spec in quotes."),
    ],
)
def test_one_mistake_is_one_line_at_its_place(mistakes: Mistakes, old: str, new: str, said: str) -> None:
    assert old in SOUND
    text = SOUND.replace(old, new)
    if 'run = "x"' in new:
        text = text.partition("[run]")[0]
    report = mistakes(text).splitlines()
    assert said in report[0]
    assert report[1:] == ["1 error. Nothing was run."]


def _keys() -> list[tuple[int, str]]:
    """Line and name of each key that stands at the start of its line in the sound spec."""
    lines = enumerate(SOUND.splitlines(), start=1)
    return [(number, line.split(" ")[0]) for number, line in lines if " = " in line]


def _misspelt(text: str, lines: list[int]) -> str:
    """Each of these lines with its key's last letter doubled."""
    rows = text.splitlines()
    for line in lines:
        key, equals, value = rows[line - 1].partition(" = ")
        rows[line - 1] = f"{key}{key[-1]}{equals}{value}"
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("line", "key"), _keys())
def test_any_misspelt_key_is_found_and_named(mistakes: Mistakes, line: int, key: str) -> None:
    report = mistakes(_misspelt(SOUND, [line])).splitlines()
    assert report[0].startswith(f"s.toml:{line}:1  ")
    assert report[0].endswith(f"{key}{key[-1]}: unknown key. Did you mean {key}?")
    assert report[1] == "1 error. Nothing was run."


@pytest.mark.parametrize("seed", range(8))
def test_ten_mistakes_are_ten_lines_in_the_order_of_the_file(mistakes: Mistakes, seed: int) -> None:
    lines = sorted(random.Random(seed).sample([line for line, key in _keys() if key != "kind"], 10))
    report = mistakes(_misspelt(SOUND, lines)).splitlines()
    assert [line.split("  ")[0] for line in report[:-1]] == [f"s.toml:{line}:1" for line in lines]
    assert report[-1] == "10 errors. Nothing was run."


def test_conflicts_are_found_beside_other_mistakes(mistakes: Mistakes) -> None:
    text = SOUND.replace("n_heads = 4", "n_heads = 5").replace("seed = 3", "sed = 3")
    assert mistakes(text).splitlines() == [
        "s.toml:2:1  sed: unknown key. Did you mean seed?",
        "s.toml:12:11  model.d_model: 64 is not divisible by n_heads = 5. "
        "Change one of them, or set head_dim.",
        "2 errors. Nothing was run.",
    ]


def test_no_conflict_is_made_up_from_a_value_that_is_wrong_itself(mistakes: Mistakes) -> None:
    report = mistakes(SOUND.replace("n_heads = 4", "n_heads = 0").replace("d_model = 64", "d_model = 65"))
    assert report.count("\n") == 1
    assert "model.n_heads: must be a whole number from 1 to 1024, not 0." in report


def test_columns_count_characters(mistakes: Mistakes) -> None:
    report = mistakes(SOUND.replace('"a.txt" }', '"ä😀.txt", wieght = 1 }'))
    column = SOUND.splitlines()[6].index('"a.txt"') + len('"ä😀.txt", ') + 1
    assert report.startswith(f"s.toml:7:{column}  data.sources.0.wieght: unknown key. Did you mean weight?")


def test_arrays_of_tables_and_dotted_headers_have_places(mistakes: Mistakes) -> None:
    inline = next(line for line in SOUND.splitlines() if line.startswith("sources"))
    tables = (
        '[[data.sources]]\nkind = "files"\npath = 1\n[[data.sources]]\nkind = "python_stdlib"\nweigth = 1\n'
    )
    schedule = '[train.schedule]\nkind = "linear"\n"cooldown" = 7\n'
    text = (
        SOUND.replace(inline, "").replace('schedule = { kind = "linear", cooldown = 0.7 }\n', "")
        + tables
        + schedule
    )
    end = text.count("\n")
    assert mistakes(text).splitlines() == [
        f"s.toml:{end - 6}:8  data.sources.0.path: must be text in quotes, not 1.",
        f"s.toml:{end - 3}:1  data.sources.1.weigth: unknown key. Did you mean weight?",
        f"s.toml:{end}:14  train.schedule.cooldown: must be a number from 0 to 1, not 7.",
        "3 errors. Nothing was run.",
    ]


def test_problems_carry_their_parts(folder: Path) -> None:
    Path("s.toml").write_text(SOUND.replace("n_heads", "n_head"))
    with pytest.raises(SpecErrors) as caught:
        load_spec(Path("s.toml"))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column, problem.key) == ("s.toml", 13, 1, "model.n_head")


def test_a_terminal_obeys_nothing_that_a_spec_holds(mistakes: Mistakes) -> None:
    report = mistakes(
        SOUND.replace('"tiny"', '"\\u001b[31m\\u202e\\n\\u009b"').replace("seed", '"s\\u0007eed"')
    )
    assert all(character.isprintable() or character == "\n" for character in report)
    assert "\\x1b[31m\\u202e\\n\\x9b" in report
    assert report.count("\n") == 2
