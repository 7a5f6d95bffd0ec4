"""Exports of fine-tunes: what transformers and peft compute of them is what we do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.conftest import FAMILIES
from toolkit.evals.sampling import Loaded, load_task
from toolkit.interop.errors import InteropError
from toolkit.interop.export import export_checkpoint
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder

transformers = pytest.importorskip("transformers")
TEXTS = ["lorem good", "bad ipsum dolor amet bad bad lorem ipsum", "sit"]


def last(root: Path, name: str, stage: str) -> Checkpoint:
    return CheckpointStore(RunFolder(root, name, stage)).resolve("last")


def scores(model: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded inputs, and what our own head says of them in the units of the data."""
    tokenizer = model.tokenizer
    assert tokenizer is not None
    rows = [[tokenizer.begin_of_text_id, *tokenizer.encode(text)] for text in TEXTS]
    lengths = torch.tensor([len(row) for row in rows])
    inputs = torch.full((len(rows), int(lengths.max())), tokenizer.end_of_text_id)
    for number, row in enumerate(rows):
        inputs[number, : len(row)] = torch.tensor(row)
    task: Any = model.task
    with torch.no_grad():
        found = task.scores({"inputs": inputs, "lengths": lengths})
    if hasattr(task, "scale"):
        mean, spread = task.scale
        found = found * spread + mean
    return inputs, found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stage", ["sort", "low", "number"])
def test_a_classifier_opens_and_gives_equal_scores(
    family: str, stage: str, tuned: Path, tmp_path: Path
) -> None:
    checkpoint = last(tuned, f"of-{family}", stage)
    written = export_checkpoint(checkpoint, tmp_path / "out")
    inputs, ours = scores(load_task(checkpoint))
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.folder)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], inputs)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(written.folder).eval()
    with torch.no_grad():
        theirs = model(**batch).logits
    if stage == "number":
        assert model.config.problem_type == "regression"
        folded = family == "gpt2"
        assert bool(written.notes) != folded
        theirs = theirs if folded else theirs + model.config.tk_offset
        assert ours.mean() > 50, "the numbers are far from zero"
        torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=0)
    else:
        assert model.config.id2label == {0: "neg", 1: "pos"}
        assert ours.std() > 0.01
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_opens_a_lora_run_with_equal_logits(family: str, tuned: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    checkpoint = last(tuned, f"of-{family}", "low")
    written = export_checkpoint(checkpoint, tmp_path / "adapter", adapter=True, base=str(tmp_path / "base"))
    assert written.base == tmp_path / "base"
    _, ours = scores(load_task(checkpoint))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        config["base_model_name_or_path"], num_labels=2
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(written.folder)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    adapted = peft.PeftModel.from_pretrained(model, written.folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(**batch).logits, ours, atol=1e-5, rtol=0)
        with adapted.disable_adapter():
            assert (adapted(**batch).logits - ours).abs().max() > 0.01, "the updates do something"
    card = (written.folder / "README.md").read_text()
    assert "library_name: peft" in card
    assert 'base_model: "base"' in card
    # An adapter on the base that was written for another checkpoint would give other logits, silently.
    other = last(tuned, "of-gpt2" if family != "gpt2" else "of-llama", "low")
    with pytest.raises(InteropError, match="was written from checkpoint"):
        export_checkpoint(other, tmp_path / "wrong", adapter=True, base=str(tmp_path / "base"))


def test_an_import_is_the_base_by_itself(
    tuned: Path, tmp_path: Path, models_of_others: dict[str, Path]
) -> None:
    checkpoint = last(tuned, "of-qwen3", "low")
    export_checkpoint(checkpoint, tmp_path / "adapter", adapter=True)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(models_of_others["qwen3"])
    with pytest.raises(InteropError, match="has no low-rank updates: it is a full"):
        export_checkpoint(last(tuned, "of-qwen3", "sort"), tmp_path / "none", adapter=True)
    with pytest.raises(InteropError, match="--base is of an adapter alone"):
        export_checkpoint(checkpoint, tmp_path / "none", base="x")
    assert not (tmp_path / "none").exists()


def test_a_template_and_the_whole_descent_are_in_the_folder(tuned: Path, tmp_path: Path) -> None:
    imported, child = last(tuned, "hf", "qwen3"), last(tuned, "of-qwen3", "sort")
    export_checkpoint(imported, tmp_path / "lm")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "lm")
    said = tokenizer.apply_chat_template([{"role": "user", "content": "sit"}], tokenize=False)
    assert said == "<|im_start|>user\nsit<|im_end|>"
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "lm").config.eos_token_id is not None
    export_checkpoint(child, tmp_path / "child")
    card = (tmp_path / "child" / "README.md").read_text()
    for part in (
        'base_model: "qwen3"',
        "pipeline_tag: text-classification",
        "Labels: neg, pos",
        "| val/accuracy |",
        "| labelled rows | files rows.jsonl |",
        f"| hf/qwen3, imported from qwen3 | 0 | {imported.id} | not known |",
        child.id,
    ):
        assert part in card, part
    assert str(tuned) not in card, "a card tells nothing of the machine"
