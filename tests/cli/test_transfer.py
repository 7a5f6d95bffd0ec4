"""`tk transfer` on a task small enough to be carried out, interrupted and gone on with."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

FINETUNE = """
[finetune.kind]
kind = "classify"
data = {{ kind = "files", path = "{folder}/rows.jsonl", validation = 0.3 }}
duration = "10 steps"
batch = "8 rows"
"""
OPTIONS = ("--labels", "20", "--seeds", "1", "--rates", "1,3")


@pytest.fixture
def labelled(desk):
    """A spec with a target: which half of the words a text is made of."""
    rng = random.Random(1)
    words = {"low": ["lorem", "ipsum", "dolor", "sit"], "elit": ["amet", "adipiscing", "elit", "sed"]}
    rows = [
        {"text": " ".join(rng.choices(words[label], k=5)) + f" {number}", "label": label}
        for number in range(120)
        for label in words
    ]
    (desk.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    desk.spec.write_text(desk.spec.read_text() + FINETUNE.format(folder=desk.folder))
    return desk


def finished(runs: Path) -> set[str]:
    done = set()
    for path in (runs / "tiny.transfer").glob("kind-*/status.json"):
        if json.loads(path.read_text())["state"] == "finished":
            done.add(path.parent.name)
    return done


@pytest.mark.slow
def test_a_measurement_is_interrupted_gone_on_with_and_reused(labelled) -> None:
    process = labelled.start("transfer", "tiny.toml", *OPTIONS)
    end = time.monotonic() + 120
    while len(finished(labelled.runs)) < 1 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, out + err
    before = finished(labelled.runs)
    assert 1 <= len(before) < 4
    started = {name: attempts(labelled, name) for name in before}

    said = labelled.tk("transfer", "tiny.toml", *OPTIONS)
    assert "reused" in said
    assert len(finished(labelled.runs)) == 4 + 2
    assert {name: attempts(labelled, name) for name in before} == started
    assert "LABELS" in said
    report, _ = json.JSONDecoder().raw_decode(labelled.tk("transfer", "tiny.toml", *OPTIONS, "--json"))
    folder = labelled.runs / "tiny.transfer" / "report-kind"
    assert json.loads((folder / "report.json").read_text())["rows"] == report["rows"]
    assert [row["labels"] for row in report["rows"]] == [20]
    for row in report["rows"]:
        assert row["parent"]["n"] == row["scratch"]["n"] == 1
        assert 0 <= row["scratch"]["mean"] <= 1
    assert {path.suffix for path in folder.iterdir()} >= {".json", ".png", ".svg"}
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    # Weights are gone, and what they were is still known.
    assert not list((labelled.runs / "tiny.transfer").glob("*/checkpoints/step-*"))
    assert "tiny.transfer/kind-n20-scratch-x3-s3 from scratch" in labelled.tk("lineage")
    # A run by itself gives the same score: it is an ordinary one.
    trial = next(iter(sorted(before)))
    alone = labelled.runs / "tiny.transfer" / trial
    labelled.tk("run", alone / "spec.toml", "--as", "alone")
    scores = [
        json.loads((path / "status.json").read_text()) for path in (alone, labelled.runs / "alone" / trial)
    ]
    assert scores[0]["metrics"]["val/accuracy"] == scores[1]["metrics"]["val/accuracy"]


def test_wrong_options_are_told_before_anything_runs(labelled) -> None:
    for options, said in (
        (("--rates", "0,1"), "write numbers above zero"),
        (("--stage", "sort"), 'has no target "sort"'),
        (("--as", "A b"), "can't name a run"),
        (("--labels", "few"), "neither a count nor a share"),
    ):
        assert said in labelled.tk("transfer", "tiny.toml", *options, status=2)
    assert not labelled.runs.exists()


def attempts(desk, name: str) -> int:
    lines = (desk.runs / "tiny.transfer" / name / "events.jsonl").read_text().splitlines()
    return sum(json.loads(line)["kind"] == "started" for line in lines)
