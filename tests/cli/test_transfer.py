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
OPTIONS = ("--labels", "10,40", "--seeds", "2", "--rates", "1,3")


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
    while len(finished(labelled.runs)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, out + err
    before = finished(labelled.runs)
    assert 2 <= len(before) < 16
    started = {name: attempts(labelled, name) for name in before}

    said = labelled.tk("transfer", "tiny.toml", *OPTIONS)
    assert "reused" in said
    assert len(finished(labelled.runs)) == 8 + 8
    assert {name: attempts(labelled, name) for name in before} == started
    assert "LABELS" in said
    report = (
        json.loads(
            labelled.tk("transfer", "tiny.toml", *OPTIONS, "--json").partition("\n{")[2].join("{}")[:-1]
        )
        if False
        else json.loads((labelled.runs / "tiny.transfer" / "report-kind" / "report.json").read_text())
    )
    assert [row["labels"] for row in report["rows"]] == [10, 40]
    for row in report["rows"]:
        assert row["parent"]["n"] == row["scratch"]["n"] == 2
        assert 0 <= row["scratch"]["mean"] <= 1
    folder = labelled.runs / "tiny.transfer" / "report-kind"
    assert {path.suffix for path in folder.iterdir()} >= {".json", ".png", ".svg"}
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    # Weights are gone, and what they were is still known.
    assert not list((labelled.runs / "tiny.transfer").glob("*/checkpoints/step-*"))
    assert "tiny.transfer" in labelled.tk("lineage")


def attempts(desk, name: str) -> int:
    lines = (desk.runs / "tiny.transfer" / name / "events.jsonl").read_text().splitlines()
    return sum(json.loads(line)["kind"] == "started" for line in lines)
