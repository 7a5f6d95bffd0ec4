"""Fine-tunes of encoders as the classes of transformers that have such heads: equal logits, or one clear error."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.interop.encoders import write_encoder
from toolkit.cli.stages import make_jobs
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.stage import carry_out
from toolkit.evals.prediction import Predictor, collate
from toolkit.interop.errors import InteropError
from toolkit.interop.export import export_checkpoint
from toolkit.spec.load import load_spec
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder

transformers = pytest.importorskip("transformers")
SPEC = """
name = "{name}"
parent = "{parent}"
[run]
device = "cpu"
precision = "float32"
"""
STAGES = {
    "pairs": 'kind = "classify"\ninput_key = ["first", "second"]',
    "number": 'kind = "regress"\ninput_key = "first"',
    "many": 'kind = "multilabel"\ninput_key = "first"',
    "words": 'kind = "tag"',
    "plain": 'kind = "classify"\ninput_key = "first"\nhead = "linear"',
    "frozen": 'kind = "classify"\ninput_key = "first"\ntune = { kind = "head" }',
    "low": 'kind = "classify"\ninput_key = "first"\ntune = { kind = "lora", rank = 2 }',
}
AUTO = {
    "words": "AutoModelForTokenClassification",
    **dict.fromkeys(("pairs", "number", "many", "frozen", "low"), "AutoModelForSequenceClassification"),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w") as file:
        for _ in range(60):
            good = rng.random() < 0.5
            words = rng.choices(["Lorem", "ipsum", "dolor", "good" if good else "bad"], k=rng.randint(3, 9))
            row = {
                "first": " ".join(words),
                "second": " ".join(rng.choices(["sit", "amet."], k=rng.randint(1, 6))),
                "label": "pos" if good else "neg",
                "labels": ["long"] * (len(words) > 5) + ["good"] * good,
                "value": 100 + 10 * good + rng.random(),
                "tokens": words,
                "tags": ["B-X" if word in ("good", "bad") else "O" for word in words],
            }
            file.write(json.dumps(row) + "\n")
    return path


def tuned(folder: Path, root: Path, name: str, data: str, stages: dict[str, str]) -> dict[str, Checkpoint]:
    """The last checkpoint of every stage of a spec on a folder of others, carried out."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TK_CACHE", str(root.parent / "cache"))
    spec = root.parent / f"{name}.toml"
    tables = (
        f'[finetune.{stage}]\n{options}\ndata = {data}\nduration = "3 steps"\n'
        for stage, options in stages.items()
    )
    spec.write_text(SPEC.format(name=name, parent=f"hf:{folder}") + "\n".join(tables))
    try:
        for job in make_jobs(load_spec(spec, []), None, root):
            assert carry_out(job, Interrupts()) == 0
    finally:
        patch.undo()
    return {stage: CheckpointStore(RunFolder(root, name, stage)).resolve("last") for stage in stages}


@pytest.fixture(scope="module")
def texts(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Checkpoint]]:
    root = tmp_path_factory.mktemp("tuned")
    found = {}
    for name in ("BertForPreTraining", "ModernBertForMaskedLM"):
        write_encoder(name, root / name)
        stages = STAGES | (
            {"mean": 'kind = "classify"\ninput_key = "first"\npool = "mean"'} if "Modern" in name else {}
        )
        data = f'{{ kind = "files", path = "{rows}" }}'
        found[name] = tuned(root / name, root / "runs", name.lower(), data, stages)
    return found


def ours(checkpoint: Checkpoint, asked: list[dict[str, Any]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The batch as we read it, and what our own head says of it in the units of the data."""
    predictor = Predictor(checkpoint)
    batch = dict(collate([predictor.read(row) for row in asked], predictor.form.fill))
    task: Any = predictor.task
    with torch.no_grad():
        scores = task.scores(batch)
    if hasattr(task, "scale"):
        mean, spread = task.scale
        scores = scores * spread + mean
    return batch, scores


@pytest.mark.parametrize("parent", ["BertForPreTraining", "ModernBertForMaskedLM"])
@pytest.mark.parametrize("stage", list(AUTO))
def test_a_fine_tune_opens_and_gives_equal_logits(
    parent: str, stage: str, texts: dict[str, dict[str, Checkpoint]], rows: Path, tmp_path: Path
) -> None:
    asked = [json.loads(line) for line in rows.read_text().splitlines()[:8]]
    batch, expected = ours(texts[parent][stage], asked)
    folder = export_checkpoint(texts[parent][stage], tmp_path / "out").folder
    words = transformers.AutoTokenizer.from_pretrained(folder)
    first = [row["first"] for row in asked]
    second = [row["second"] for row in asked] if stage == "pairs" else None
    theirs = words(first, second, padding=True, return_tensors="pt")
    lengths = theirs["attention_mask"].sum(1)
    assert torch.equal(lengths, batch["lengths"])
    assert len(set(lengths.tolist())) > 1
    real = theirs["attention_mask"].bool()
    assert torch.equal(theirs["input_ids"][real], batch["inputs"][real])
    if stage == "pairs" and parent.startswith("Bert"):
        assert torch.equal(theirs["token_type_ids"], batch["segments"])
    model = getattr(transformers, AUTO[stage]).from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**theirs).logits
    if stage == "words":
        logits, expected = logits[real], expected[real]
    assert expected.std() > 0.001
    torch.testing.assert_close(logits, expected, atol=1e-3 if stage == "number" else 1e-5, rtol=0)
    assert AUTO[stage] in (folder / "README.md").read_text()


def test_a_mean_is_told_to_modernbert(
    texts: dict[str, dict[str, Checkpoint]], rows: Path, tmp_path: Path
) -> None:
    asked = [json.loads(line) for line in rows.read_text().splitlines()[:8]]
    checkpoint = texts["ModernBertForMaskedLM"]["mean"]
    folder = export_checkpoint(checkpoint, tmp_path / "out").folder
    words = transformers.AutoTokenizer.from_pretrained(folder)
    batch = words([row["first"] for row in asked], padding=True, return_tensors="pt")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.classifier_pooling == "mean"
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, ours(checkpoint, asked)[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("parent", ["BertForPreTraining", "ModernBertForMaskedLM"])
def test_a_head_that_transformers_lacks_is_named_with_the_way_out(
    parent: str, texts: dict[str, dict[str, Checkpoint]], tmp_path: Path
) -> None:
    with pytest.raises(InteropError) as caught:
        export_checkpoint(texts[parent]["plain"], tmp_path / "out")
    assert str(caught.value) == (
        f"{parent.lower()}/plain can't be exported: its head is a matrix on the trunk's vectors, and "
        f"{parent.split('For')[0]}ForSequenceClassification has more layers there. Fine-tune it with "
        'finetune.plain.head = "family". `tk predict` works with it all the same.'
    )
    assert not (tmp_path / "out").exists()


def test_a_fine_tune_begins_with_what_the_folder_has_under_its_head(
    texts: dict[str, dict[str, Checkpoint]], rows: Path, tmp_path: Path
) -> None:
    """Three steps at a small rate: the pooler is the parent's, moved a little, and not a random one."""
    from toolkit.engine.weights import read_weights

    for parent, under in (("BertForPreTraining", "neck"), ("ModernBertForMaskedLM", "head")):
        checkpoint = texts[parent]["pairs"]
        base = read_weights(
            CheckpointStore(RunFolder(checkpoint.path.parents[3], "hf", parent.lower())).resolve(None)
        )
        now = read_weights(checkpoint)["neck.dense.weight"]
        assert 0 < (now - base[f"{under}.dense.weight"]).abs().max() < 0.02


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(40):
        name = ("dark", "light")[number % 2]
        (folder / name).mkdir(exist_ok=True)
        pixels = rng.integers(0, 128, (12, 16, 3), np.uint8) + 100 * (name == "light")
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("parent", ["ViTModel", "ViTForImageClassification"])
def test_an_image_classifier_opens_and_gives_equal_logits(
    parent: str, pictures: Path, tmp_path: Path
) -> None:
    write_encoder(parent, tmp_path / "vit")
    stages = {"shade": 'kind = "classify"', "mean": 'kind = "classify"\npool = "mean"'}
    data = f'{{ kind = "folder", path = "{pictures}", validation = 0.2 }}'
    found = tuned(tmp_path / "vit", tmp_path / "runs", "shades", data, stages)
    files = sorted(pictures.rglob("*.png"))[:6]
    _, expected = ours(found["shade"], [{"image": file.read_bytes()} for file in files])
    folder = export_checkpoint(found["shade"], tmp_path / "out").folder
    processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**processor([Image.open(file) for file in files], return_tensors="pt")).logits
    assert model.config.id2label == {0: "dark", 1: "light"}
    assert expected.std() > 0.001
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    with pytest.raises(
        InteropError, match=r'reads the "mean" of a row, .* the "class"\. Fine-tune it with .*pool = "class"'
    ):
        export_checkpoint(found["mean"], tmp_path / "none")
