"""Every objective through the one loop: killed and resumed it equals the uninterrupted run, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.engine.job import Job
from toolkit.engine.tensors import OPTIMIZER, WEIGHTS, read_tensors
from toolkit.plan.plan import Plan
from toolkit.spec.load import load_spec
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.status import read_status

IMAGES = """
name = "{name}"
seed = 3

[data]
sources = [{{ kind = "digits" }}]
validation = 0.05

[model]
kind = "vit"
n_layers = 2
d_model = 32
n_heads = 2
patch_size = 2
pooling = "mean"

[objective]
{objective}

[train]
duration = "24 steps"
batch = "8 rows"
optimizer = {{ kind = "adamw", lr = 1e-3 }}

[run]
precision = "float32"
checkpoint_every = "7 steps"
evaluate_every = "10 steps"
"""
TEXT = """
name = "{name}"
seed = 3

[data]
sequence_length = 32
validation = 0.2
tokenizer = {{ kind = "{tokenizer}" }}
sources = [{{ kind = "files", path = "{texts}" }}]

[model]
kind = "{model}"
n_layers = 2
d_model = 32
n_heads = 2
dropout = 0.1

[objective]
{objective}

[train]
duration = "24 steps"
batch = "4 rows"
optimizer = {{ kind = "muon" }}

[run]
micro_batch = 2
checkpoint_every = "7 steps"
evaluate_every = "10 steps"
"""
CASES = {
    "rotation": (IMAGES, 'kind = "rotation"', {}),
    "mae": (IMAGES, 'kind = "masked_image"', {}),
    "simmim": (IMAGES, 'kind = "masked_image"\nmethod = "simmim"', {}),
    "simclr": (IMAGES, 'kind = "contrastive"', {}),
    "vicreg": (IMAGES, 'kind = "contrastive"\nmethod = "vicreg"', {}),
    "bert": (TEXT, 'kind = "masked_lm"\nchoose = "words"', {"model": "bert", "tokenizer": "bpe"}),
    "modernbert": (
        TEXT,
        'kind = "masked_lm"\nreplace = "bert"\nchoose = "spans"',
        {"model": "modernbert", "tokenizer": "characters"},
    ),
    "wordpiece": (TEXT, 'kind = "masked_lm"\nchoose = "words"', {"model": "bert", "tokenizer": "wordpiece"}),
}


QUICK = ("mae", "bert", "simclr", "modernbert")


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.long) for case in CASES]
)
def test_kills_change_nothing(
    case: str, tmp_path: Path, texts: Path, attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    if CASES[case][0] is IMAGES:
        pytest.importorskip("sklearn")
    monkeypatch.setenv("TK_CACHE", str(tmp_path / "cache"))
    form, objective, options = CASES[case]

    def job(name: str) -> Job:
        path = tmp_path / f"{name}.toml"
        path.write_text(form.format(name=name, objective=objective, texts=texts, **options))
        loaded = load_spec(path)
        return Job(root=tmp_path / "runs", name=name, spec=loaded.spec, text=loaded.text.decode())

    whole, killed = job("whole"), job("killed")
    outcomes, printed = attempts(whole)
    assert outcomes == ["0"], printed
    outcomes, printed = attempts(killed, seed=1, signals=1, longest=1.5)
    assert outcomes[-1] == "0", printed
    expected, got = final(whole), final(killed)
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    plan = Plan.model_validate_json(whole.run.plan.read_bytes())
    status = read_status(whole.run)
    assert status is not None
    assert np.isfinite(list(status.metrics.values())).all()
    if case == "simclr":
        assert plan.micro_batch == plan.batch_rows
    if form is IMAGES:
        assert {"val/knn_accuracy", "val/probe_accuracy", "val/feature_rank"} <= status.metrics.keys()
        config = (whole.run.path / "projector_config.pbtxt").read_text()
        vectors = np.loadtxt(whole.run.path / "projector" / "vectors.tsv", delimiter="\t")
        labels = (whole.run.path / "projector" / "labels.tsv").read_text().splitlines()
        assert vectors.shape == (len(labels), 32)
        assert "projector/thumbnails.png" in config
    else:
        assert {"val/accuracy", "val/unigram_accuracy"} <= status.metrics.keys()
    finished = [json.loads(line) for line in whole.run.events.read_text().splitlines()][-1]
    assert abs(finished["actual"]["flops"] / plan.flops - 1) < 0.1


def final(job: Job) -> dict[str, torch.Tensor]:
    last = CheckpointStore(job.run).resolve("last")
    tensors = read_tensors(last.path, WEIGHTS)
    return tensors | {f"optimizer/{k}": v for k, v in read_tensors(last.path, OPTIMIZER).items()}
