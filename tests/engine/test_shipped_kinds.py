"""The specs of other kinds than GPTs, each with a fine-tune, carried out with a small budget."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.engine.test_shipped import ONCE, tk

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FEW = "train.duration=12 steps"
TEXT = ("model.n_layers=2", "model.d_model=32", "model.n_heads=2")


def finished(tmp_path: Path, run: str) -> dict[str, float]:
    shown = json.loads(tk(tmp_path, "show", run, "--json"))
    assert shown["state"] == "finished"
    assert abs(shown["actual"]["flops"] / shown["plan"]["flops"] - 1) < 0.1
    metrics: dict[str, float] = shown["metrics"]
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_masked", "vit_contrastive", "vit_rotation"])
def test_digits(tmp_path: Path, name: str) -> None:
    tk(tmp_path, "run", f"specs/{name}.toml", FEW, ONCE, "finetune.digits.duration=20 steps")
    assert finished(tmp_path, name)["val/knn_accuracy"] > 0.2
    assert finished(tmp_path, f"{name}/digits")["val/accuracy"] > 0.1


@pytest.mark.slow
def test_bert_and_fill(tmp_path: Path) -> None:
    sizes = (
        *TEXT,
        "data.tokenizer.vocab_size=512",
        "train.batch=1Ki tokens",
        "finetune.package.duration=2 steps",
    )
    tk(tmp_path, "run", "specs/bert_small.toml", FEW, ONCE, *sizes)
    assert finished(tmp_path, "bert_small")["val/accuracy"] > 0
    told = json.loads(tk(tmp_path, "fill", "bert_small", "def [MASK](self): return [MASK]", "--json"))
    assert [len(mask) for mask in told["masks"]] == [5, 5]
    for mask in told["masks"]:
        chances = [candidate["probability"] for candidate in mask]
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) <= 1
    assert "[MASK]" not in told["text"]
    exported = tmp_path / "hf"
    tk(tmp_path, "export", "bert_small", str(exported))
    assert json.loads((exported / "config.json").read_text())["architectures"] == ["ModernBertForMaskedLM"]
    with pytest.raises(AssertionError, match="there is nothing to fill in"):
        tk(tmp_path, "fill", "bert_small", "no mask here")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the sample data")
def test_speech_and_proteins(tmp_path: Path) -> None:
    root = f"data.root={DATA}"
    spec, short = "specs/speech_masked.toml", "finetune.digits.duration=4 steps"
    same = "finetune.digits.data.path=audio/spoken_digits.test.parquet"
    with pytest.raises((AssertionError, subprocess.CalledProcessError), match="also a held-out one"):
        tk(tmp_path, "run", spec, FEW, ONCE, root, short, same)  # the same rows can't be both
    tk(tmp_path, "run", spec, FEW, ONCE, root, short, "--replace")
    finished(tmp_path, "speech_masked/digits")
    tk(
        tmp_path,
        "run",
        "specs/protein_masked.toml",
        FEW,
        ONCE,
        *TEXT,
        root,
        "finetune.fitness.duration=4 steps",
    )
    assert finished(tmp_path, "protein_masked")["val/unigram_accuracy"] < 0.2
    assert "val/spearman" in finished(tmp_path, "protein_masked/fitness")
