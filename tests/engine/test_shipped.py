"""The specs that ship, carried out with a small budget on the real text they are made for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolkit.store.tail import read_scalars

ROOT = Path(__file__).parents[2]
TEXTS = ROOT.parent / "shared" / "data" / "text"
SMALL = ("model.n_layers=2", "model.d_model=64", "model.n_heads=2", "train.batch=2Ki tokens")
ONCE = "run.evaluate_every=60 steps"


def tk(tmp_path: Path, *arguments: str) -> str:
    environment = {**os.environ, "TK_RUNS": str(tmp_path / "runs"), "TK_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "toolkit", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_default_spec_runs_and_learns(tmp_path: Path) -> None:
    few = [f"finetune.{stage}.data.limit=200" for stage in ("coder", "module_classifier")]
    said = tk(tmp_path, "run", "specs/gpt_small.toml", *SMALL, ONCE, "train.duration=60 steps", *few)
    assert "finished     gpt_small/pretrain at step 60" in said
    for stage in ("coder", "module_classifier"):
        assert f"finished     gpt_small/{stage} at step" in said
    shown = json.loads(tk(tmp_path, "show", "gpt_small", "--json"))
    assert shown["state"] == "finished"
    assert shown["metrics"]["val/bits_per_byte"] < 3.2
    curves = read_scalars(tmp_path / "runs" / "gpt_small" / "pretrain")
    waits, steps = (np.median(curves[f"perf/{name}_seconds"].values) for name in ("data_wait", "step"))
    assert waits < 0.01 * steps
    assert shown["actual"]["parameters"] == shown["plan"]["parameters"]["total"]
    assert abs(shown["actual"]["flops"] / shown["plan"]["flops"] - 1) < 0.1


@pytest.mark.slow
@pytest.mark.skipif(not TEXTS.is_dir(), reason="needs the sample rows")
@pytest.mark.parametrize(
    ("name", "stage", "path", "metric"),
    [
        ("news_classifier", "news", "classify/ag_news.train.jsonl", "val/accuracy"),
        ("translator", "english", "translate/multi30k.train.jsonl", "val/bleu"),
        ("medical_qa", "yes_no", "qa/pubmed_qa.train.jsonl", "val/macro_f1"),
        ("chatbot", "assistant", "chat/alpaca.jsonl", "val/bits_per_byte"),
    ],
)
def test_fine_tunes_run_with_one_override(
    tmp_path: Path, small_parent: Path, name: str, stage: str, path: str, metric: str
) -> None:
    shutil.copytree(small_parent, tmp_path, dirs_exist_ok=True)
    found = f"finetune.{stage}.data.path={TEXTS.parent / path}"
    few = 0.002 if name == "translator" else 0.03
    short = [f"finetune.{stage}.duration=2 steps", f"finetune.{stage}.data.validation={few}"]
    tk(tmp_path, "run", f"specs/{name}.toml", found, *short, ONCE, "parent=gpt_small/pretrain")
    shown = json.loads(tk(tmp_path, "show", f"{name}/{stage}", "--json"))
    assert shown["state"] == "finished"
    assert metric in shown["metrics"]


@pytest.fixture(scope="module")
def small_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run of the spec that the fine-tunes start from."""
    folder = tmp_path_factory.mktemp("parent")
    tk(folder, "run", "specs/gpt_small.toml", *SMALL, ONCE, "train.duration=2 steps", "--stage", "pretrain")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not TEXTS.is_dir(), reason="needs the sample texts")
@pytest.mark.parametrize(
    "name", ["tinyshakespeare.txt", "c4.jsonl", pytest.param("wiki.jsonl", marks=pytest.mark.long)]
)
def test_files_of_others_run(tmp_path: Path, name: str) -> None:
    source = f'data.sources=[{{ kind = "files", path = "{TEXTS / name}" }}]'
    spec = "specs/shakespeare.toml"
    tk(tmp_path, "run", spec, source, *SMALL, "train.duration=20 steps", "data.validation=0.1", ONCE)
    shown = json.loads(tk(tmp_path, "show", "shakespeare", "--json"))
    assert shown["state"] == "finished"
    assert shown["metrics"]["train/loss"] < shown["plan"]["vocab_size"].bit_length() * 0.69
