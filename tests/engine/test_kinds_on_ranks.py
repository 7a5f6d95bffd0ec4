"""Every kind of task over ranks: two train what one trains, and what two began one finishes."""

import json
import os
import random
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.engine.conftest import SPEC
from tests.engine.outcome import curves
from tests.engine.test_kinds import CASES, IMAGES
from toolkit.engine.job import Job
from toolkit.spec.load import load_spec
from toolkit.spec.spec import PRETRAIN
from toolkit.store.events import read_events

STEPS, STOP = 10, 6  # an evaluation is due at the stop: the resumed run begins with it
Attempts = tuple[tuple[str, int, int | None], ...]
WHOLE: Attempts = (("one", 1, None), ("two", 2, None))
STOPPED: Attempts = (("one", 1, None), ("two", 2, STOP), ("two", 2, None))
ALL: Attempts = (*STOPPED, ("mixed", 2, STOP), ("mixed", 1, None))
STAGES = ("one", "two", "mixed")
BOUND = 1e-6
# Features that hardly vary make VICReg's gradient ill-conditioned: single weights move by 1e-5 otherwise. That
# the loss is the same in float64 is shown in tests/objectives/test_images.py.
BOUNDS = {"vicreg": 1e-5}
OVERRIDES = (
    f"train.duration={STEPS} steps",
    "train.optimizer.kind=adamw",
    "run.precision=float32",
    "run.micro_batch=2",
    f"run.evaluate_every={STOP} steps",
)
SPEECH = IMAGES.replace(
    '{{ kind = "digits" }}',
    '{{ kind = "audio", path = "{sounds}", sample_rate = 8000, seconds = 0.08, mel_bands = 8 }}',
)
OBJECTIVES = {**CASES, "speech": (SPEECH, 'kind = "contrastive"', {})}
WORDS = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit")
TARGETS = {
    "chat-lora": 'prompt_key = "text"\ncompletion_key = "answer"',
    "chat-full": 'prompt_key = "text"\ncompletion_key = "answer"',
    "classify-lora": "",
    "classify-full": "",
    "classify-top": "",
    "multilabel-full": "",
    "regress-full": "",
    "tag-full": "",
    "answer-full": 'context_key = "text"\nquestion_key = "label"\non_bad_row = "skip"',
    "answer-lora": f'context_key = "text"\nquestion_key = "label"\noptions = {json.dumps(WORDS)}',
    "translate-full": 'source_key = "text"\ntarget_key = "answer"\nmax_new_tokens = 8',
}
Tuned = Callable[[str, str], Job]


class Spread:
    """Jobs of specs, and attempts at them by ranks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts, self.sounds = folder / "texts", folder / "sounds"
        self.texts.mkdir()
        self.sounds.mkdir()
        rng = random.Random(0)
        for number in range(40):
            (self.texts / f"{number:02}.txt").write_text(" ".join(rng.choices(WORDS, k=60)) + f" {number}\n")
            with wave.open(str(self.sounds / f"{number:02}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", None))
                tone = 20_000 * np.sin(np.arange(800) * rng.uniform(0.1, 2) + 3 * rng.random())
                file.writeframes(
                    (tone * np.linspace(rng.random(), rng.random(), 800)).astype("<i2").tobytes()
                )
        with (folder / "rows.jsonl").open("w") as file:
            for _ in range(40):
                drawn = rng.choices(WORDS, k=rng.randint(1, 4))
                row = {"text": " ".join(drawn), "label": drawn[0], "answer": drawn[-1], "labels": drawn}
                row |= {"value": len(drawn), "tokens": drawn, "tags": [word[0] for word in drawn]}
                file.write(json.dumps(row) + "\n")

        self.log = folder / "printed.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("spread.py"))],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            env={**os.environ, "TK_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
        )

    def job(self, text: str, name: str, stage: str = PRETRAIN, *overrides: str) -> Job:
        path = self.folder / "spec.toml"
        path.write_text(text)
        loaded = load_spec(path, [f"name={name}", *overrides])
        text = loaded.text.decode()
        return Job(root=self.folder / "runs", name=name, stage=stage, spec=loaded.spec, text=text)

    def attempt(self, job: Job, ranks: int, stop: int | None = None) -> list[int]:
        """Exit statuses of the ranks, which stop at that step."""
        file = self.folder / "job.json"
        file.write_text(job.model_dump_json())
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(file), ranks, stop]), file=self.process.stdin, flush=True)
        return [int(status) for status in self.process.stdout.readline().split()]

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        self.process.communicate(timeout=20)

    def check(self, make: Callable[[str], Job], bound: float = BOUND, attempts: Attempts = ALL) -> None:
        """The losses of all attempts are those of one rank."""
        jobs = {name: make(name) for name in STAGES}
        for name, ranks, stop in attempts:
            expected = [0 if stop is None else 75] * ranks
            assert self.attempt(jobs[name], ranks, stop) == expected, self.printed
        expected = curves(jobs["one"])
        assert len(expected["train/loss"]) == STEPS
        for name in dict.fromkeys(name for name, _, _ in attempts[1:]):
            differing = differences(expected, curves(jobs[name]))
            assert max(differing.values()) < 10 * bound, str(differing)
            assert max(differing["train/loss"], differing["val/loss"]) < bound, str(differing)
            print(name, {tag: f"{value:.1e}" for tag, value in differing.items() if "loss" in tag})
        for name in {name for name, _, stop in attempts if stop}:
            events = read_events(jobs[name].run)
            assert [event["step"] for event in events if event["kind"] == "resumed"] == [STOP]


def differences(expected, found) -> dict[str, float]:
    """The largest relative difference of each metric over the steps."""
    assert expected.keys() == found.keys()
    result = {}
    for name, points in expected.items():
        assert [step for step, _ in points] == [step for step, _ in found[name]]
        values = [(a, b) for (_, a), (_, b) in zip(points, found[name], strict=True)]
        result[name] = max(abs(a - b) / (abs(a) or 1) for a, b in values)
    return result


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    spread = Spread(tmp_path_factory.mktemp("spread"))
    yield spread
    spread.end()


@pytest.fixture(scope="module")
def tuned(spread: Spread) -> Tuned:
    """tuned(case, stage) is a fine-tune of a small pretrained trunk."""

    def job(case: str, stage: str) -> Job:
        kind, _, tune = case.partition("-")
        stages = [
            f"""
[finetune.{case}-{name}]
kind = "{kind}"
tune = {{ kind = "{tune}" }}
data = {{ kind = "files", path = "{spread.folder}/rows.jsonl" }}
duration = "{STEPS} steps"
batch = "8 rows"
optimizer = {{ kind = "adamw" }}
{TARGETS.get(case, "")}
"""
            for name in STAGES
        ]
        text = SPEC.format(folder=spread.texts, steps=2) + "".join(stages)
        return spread.job(text, "tuned", stage if stage == PRETRAIN else f"{case}-{stage}", *OVERRIDES[2:])

    assert spread.attempt(job("classify-head", PRETRAIN), 1) == [0], spread.printed
    return job


def check_objective(case: str, spread: Spread, attempts: Attempts) -> None:
    form, objective, options = OBJECTIVES[case]
    if form is IMAGES:
        pytest.importorskip("sklearn")
    text = form.format(name="any", objective=objective, texts=spread.texts, sounds=spread.sounds, **options)
    spread.check(
        lambda name: spread.job(text, f"{case}-{name}", PRETRAIN, *OVERRIDES),
        BOUNDS.get(case, BOUND),
        attempts,
    )


def test_two_ranks_compare_recordings_as_one_does(spread: Spread) -> None:
    check_objective("speech", spread, WHOLE)


def test_two_ranks_tune_a_chat_as_one_does(spread: Spread, tuned: Tuned) -> None:
    spread.check(lambda name: tuned("chat-lora", name), attempts=STOPPED)


@pytest.mark.long
@pytest.mark.parametrize("case", OBJECTIVES)
def test_an_objective(case: str, spread: Spread) -> None:
    check_objective(case, spread, ALL)


@pytest.mark.long
@pytest.mark.parametrize("case", TARGETS)
def test_a_target(case: str, spread: Spread, tuned: Tuned) -> None:
    spread.check(lambda name: tuned(case, name))


@pytest.mark.long
def test_a_head_alone_is_trained_by_the_first_rank(spread: Spread, tuned: Tuned) -> None:
    one, two = tuned("classify-head", "one"), tuned("classify-head", "two")
    assert spread.attempt(one, 1) == [0], spread.printed
    assert spread.attempt(two, 2) == [0, 0], spread.printed
    assert curves(one) == curves(two)  # on vectors that are computed once
