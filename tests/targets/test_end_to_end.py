"""Each target from its spec to its use: trained in this process, used by the commands."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from toolkit.cli.main import app
from toolkit.cli.stages import make_jobs
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.stage import carry_out
from toolkit.engine.weights import read_own_weights
from toolkit.spec.load import load_spec
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.runs import RunFolder

ROOT = Path(__file__).parents[2]
SPEC = """
name = "small"
seed = 1
[data]
sequence_length = 96
tokenizer = {{ kind = "bytes" }}
validation = 0.2
sources = [{{ kind = "files", path = "{folder}/texts.jsonl" }}]
[model]
kind = "gpt"
n_layers = 1
d_model = 48
n_heads = 2
[objective]
kind = "causal_lm"
[train]
duration = "10 steps"
batch = "8 rows"
[run]
device = "cpu"
precision = "float32"
"""
TARGET = """
[finetune.{name}]
kind = "{kind}"
data = {{ kind = "files", path = "{folder}/{name}.{ending}", validation = 0.2 }}
duration = "{steps} steps"
batch = "16 rows"
optimizer = {{ kind = "adamw", lr = 0.01 }}
{more}
"""
COLOURS = {"red": "rot", "blue": "blau", "green": "grün"}
THINGS = ["house", "sun", "sea", "car"]


def sentences() -> list[tuple[str, str, str]]:
    rng = random.Random(0)
    found = [(rng.choice(list(COLOURS)), rng.choice(THINGS), str(n)) for n in range(160)]
    return [(colour, thing, f"the {colour} {thing} {n}") for colour, thing, n in found]


def rows(name: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for colour, thing, text in sentences():
        match name:
            case "talk" | "low":
                said = [{"role": "user", "content": text}, {"role": "assistant", "content": COLOURS[colour]}]
                made.append({"messages": said})
            case "german":
                made.append({"source": text, "target": COLOURS[colour]})
            case "parts":
                made.append({"text": text, "labels": sorted({colour, thing})})
            case "colour":
                made.append({"context": text, "choices": list(COLOURS), "answer": colour})
            case "thing":
                made.append({"context": text, "question": "what?", "answer": thing})
            case _:
                made.append({"text": text})
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with all of them."""
    folder = tmp_path_factory.mktemp("targets")
    for name in ("texts", "talk", "low", "german", "parts", "colour", "thing"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(name)))
    tags = {**dict.fromkeys(COLOURS, "B-COLOUR"), **dict.fromkeys(THINGS, "B-THING")}
    with (folder / "words.conll").open("w") as file:
        for _, _, text in sentences():
            file.write("".join(f"{word} {tags.get(word, 'O')}\n" for word in text.split()) + "\n")
    targets = [
        ("talk", "chat", 160, ""),
        ("low", "chat", 20, 'tune = { kind = "lora" }'),
        ("german", "translate", 60, 'metrics = ["bleu", "chrf", "rouge"]\nmax_new_tokens = 12'),
        ("parts", "multilabel", 200, ""),
        ("colour", "answer", 40, 'options_key = "choices"'),
        ("thing", "answer", 60, ""),
        ("words", "tag", 40, 'piece = "last"'),
    ]
    text = SPEC.format(folder=folder)
    for name, kind, steps, more in targets:
        ending = "conll" if kind == "tag" else "jsonl"
        text += TARGET.format(name=name, kind=kind, steps=steps, more=more, folder=folder, ending=ending)
    (folder / "small.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TK_CACHE", str(folder / "cache"))
        for job in make_jobs(load_spec(folder / "small.toml"), None, folder / "runs"):
            assert carry_out(job, Interrupts()) == 0
    return folder / "runs"


def status(runs: Path, stage: str) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((runs / "small" / stage / "status.json").read_text())["metrics"]
    return metrics


def tk(runs: Path, *arguments: str, given: str = "") -> str:
    done = CliRunner().invoke(app, [*arguments, "--runs", str(runs)], input=given)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "metric", "least"),
    [
        ("talk", "exact_match", 0.9),
        ("german", "chrf", 90),
        ("german", "rouge1", 0.9),
        ("parts", "micro_f1", 0.9),
        ("parts", "average_precision", 0.9),
        ("colour", "accuracy", 0.9),
        ("thing", "f1", 0.9),
        ("words", "entity_f1", 0.9),
    ],
)
def test_a_target_learns(runs: Path, stage: str, metric: str, least: float) -> None:
    assert status(runs, stage)[f"val/{metric}"] >= least


@pytest.mark.slow
def test_bits_a_byte_are_of_answers(runs: Path) -> None:
    found = status(runs, "talk")
    tokens_a_byte = sum(len(word.encode()) + 1 for word in COLOURS.values()) / sum(
        len(word.encode()) for word in COLOURS.values()
    )
    assert found["val/bits_per_byte"] == pytest.approx(found["val/loss"] * 1.4427 * tokens_a_byte, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "row", "answer"),
    [
        ("talk", "the red sun 999", {"text": "rot"}),
        ("german", "the green car 998", {"text": "grün"}),
        ("parts", "the blue sea 997", {"labels": ["blue", "sea"]}),
        ("colour", json.dumps({"context": "the red car 7", "choices": ["green", "red"]}), {"answer": "red"}),
        (
            "thing",
            json.dumps({"context": "the red car 996", "question": "what?"}),
            {"answer": "car", "start": 8},
        ),
        ("words", "the green house", {"tags": ["O", "B-COLOUR", "B-THING"]}),
    ],
)
def test_predict_answers_a_line_a_file_and_a_pipe(
    runs: Path, tmp_path: Path, stage: str, row: str, answer: dict[str, Any]
) -> None:
    run = f"small/{stage}"
    found = json.loads(tk(runs, "predict", run, row, "--json"))
    assert {key: found[key] for key in answer} == answer
    (tmp_path / "lines.txt").write_text(f"{row}\n\n{row}\n")
    lines = tk(runs, "predict", run, "--file", str(tmp_path / "lines.txt"), "--json").splitlines()
    assert [json.loads(line)["row"].split(":")[-1] for line in lines] == ["1", "3"]
    plain = tk(runs, "predict", run, given=f"{row}\n").strip()
    first = next(iter(answer.values()))
    assert plain == (" ".join(first) if isinstance(first, list) else first)


@pytest.mark.slow
def test_predict_names_a_bad_row_and_goes_on_if_told(runs: Path) -> None:
    given = '{"context": "the red car", "choices": ["red", "blue"]}\n{"context": "x"}\n'
    done = CliRunner().invoke(app, ["predict", "small/colour", "--runs", str(runs)], input=given)
    assert str(done.exception) == (
        'stdin:2: field "choices" is missing; the row has context. --skip-bad passes over such rows.'
    )
    lines = tk(runs, "predict", "small/colour", "--skip-bad", "--json", given=given).splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [
        ["answer", "probabilities", "row"],
        ["error", "row"],
    ]


@pytest.mark.slow
def test_chat_answers_from_a_pipe_and_a_sample_is_an_answer(runs: Path) -> None:
    given = "the red house 5\n/reset\nthe blue house 6\n"
    assert tk(runs, "chat", "small/talk", "--temperature", "0", given=given) == "rot\nblau\n"
    turns = tk(runs, "chat", "small/talk", "--temperature", "0", "--json", given=given).splitlines()
    assert json.loads(turns[0]) == {"question": "the red house 5", "answer": "rot"}
    assert tk(runs, "sample", "small/talk", "the red house 5", "--temperature", "0") == (
        "the red house 5\nrot\n"
    )
    refused = CliRunner().invoke(app, ["chat", "small/words", "--runs", str(runs)])
    assert "was not taught to talk. See `tk predict`" in str(refused.exception)


@pytest.mark.slow
def test_a_template_stays_with_the_checkpoint(runs: Path) -> None:
    checkpoint = CheckpointStore(RunFolder(runs, "small", "talk")).list()[-1]
    assert "Assistant:" in (checkpoint.path / "chat_template.jinja").read_text()
    assert any(name.startswith("head.") for name in read_own_weights(checkpoint))


@pytest.mark.slow
def test_a_model_of_low_rank_updates_talks_too(runs: Path) -> None:
    assert tk(runs, "chat", "small/low", "--seed", "1", "--max-tokens", "8", given="the red sun 2\n").strip()
    assert all(".lora" in name or name.startswith("head.") for name in lora_weights(runs))


def lora_weights(runs: Path) -> list[str]:
    return list(read_own_weights(CheckpointStore(RunFolder(runs, "small", "low")).list()[-1]))


@pytest.mark.slow
def test_chat_goes_on_in_a_pipe_of_the_system(runs: Path) -> None:
    """As a user would: `echo … | tk chat`."""
    command = [
        sys.executable,
        "-m",
        "toolkit",
        "chat",
        "small/talk",
        "--temperature",
        "0",
        "--runs",
        str(runs),
    ]
    done = subprocess.run(
        command, input="the green sun 3\n", capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("grün\n", "", 0)
