"""A BERT of others from its folder to a classifier that transformers opens: plan, run, predict, export."""

import json
import random
import subprocess
import sys

import pytest
import torch

from tests.cli.conftest import Desk
from tests.interop.encoders import write_encoder

SPEC = """\
name = "sorter"
parent = "hf:{folder}"

[run]
device = "cpu"
precision = "float32"

[finetune.mood]
kind = "classify"
input_key = ["first", "second"]
data = {{ kind = "files", path = "rows.jsonl" }}
duration = "4 steps"
"""
ROWS = [("Lorem ipsum good", "sit."), ("bad", "amet et amet"), ("Café dolor", "good")]


@pytest.fixture
def sorter(desk: Desk) -> Desk:
    pytest.importorskip("transformers")
    write_encoder("BertForMaskedLM", desk.folder / "bert")
    (desk.folder / "sorter.toml").write_text(SPEC.format(folder=desk.folder / "bert"))
    rng = random.Random(0)
    with (desk.folder / "rows.jsonl").open("w") as file:
        for _ in range(50):
            good = rng.random() < 0.5
            row = {
                "first": " ".join(rng.choices(["Lorem", "good" if good else "bad"], k=rng.randint(2, 6))),
                "second": rng.choice(["sit", "amet dolor."]),
                "label": "up" if good else "down",
            }
            file.write(json.dumps(row) + "\n")
    return desk


def test_a_bert_becomes_a_classifier_that_transformers_opens(sorter: Desk) -> None:
    import transformers

    plan = sorter.tk("plan", "sorter.toml")
    assert "hf/bert" in plan
    assert not (sorter.runs / "hf").exists(), "a plan imports nothing"
    planned = json.loads(sorter.tk("plan", "sorter.toml", "--json"))
    sorter.tk("run", "sorter.toml")
    kept = json.loads((sorter.runs / "sorter" / "mood" / "plan.json").read_text())
    assert kept["fingerprint"] == planned["fingerprint"]
    assert kept["parent"]["fingerprint"] == planned["parent"]["fingerprint"]
    asked = sorter.folder / "asked.jsonl"
    asked.write_text("".join(json.dumps({"first": a, "second": b}) + "\n" for a, b in ROWS))
    answers = sorter.tk("predict", "sorter/mood", "--file", asked, "--json").splitlines()
    found = [json.loads(line)["probabilities"] for line in answers if line.startswith("{")]
    sorter.tk("export", "sorter/mood", "out")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(sorter.folder / "out").eval()
    words = transformers.AutoTokenizer.from_pretrained(sorter.folder / "out")
    batch = words([a for a, _ in ROWS], [b for _, b in ROWS], padding=True, return_tensors="pt")
    with torch.no_grad():
        likely = model(**batch).logits.softmax(1)
    ours = torch.tensor([[row[name] for name in model.config.id2label.values()] for row in found])
    assert list(model.config.id2label.values()) == ["down", "up"]
    torch.testing.assert_close(ours, likely, atol=1e-5, rtol=0)
    assert "BertForSequenceClassification" in (sorter.folder / "out" / "config.json").read_text()


def test_a_plan_on_a_folder_of_others_needs_no_torch(sorter: Desk) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['tk', 'plan', 'sorter.toml']; "
        "from toolkit.cli.main import main; main()"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=sorter.folder,
            env=sorter.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "hf/bert" in done.stdout
        sorter.tk("import", f"hf:{sorter.folder / 'bert'}")  # the second time it stands already


def test_a_plan_tells_of_a_folder_that_changed(sorter: Desk) -> None:
    sorter.tk("import", f"hf:{sorter.folder / 'bert'}")
    config = sorter.folder / "bert" / "config.json"
    config.write_text(config.read_text().replace("1e-07", "1e-06"))
    said = sorter.tk("plan", "sorter.toml", status=2)
    assert "holds something else now: config.json" in said
