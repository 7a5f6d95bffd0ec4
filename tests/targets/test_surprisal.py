"""A fine-tune that reads where its parent is surprised: one odd letter in a long row says it all."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolkit.cli.main import app
from toolkit.cli.stages import make_jobs
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.stage import carry_out
from toolkit.engine.weights import read_own_weights
from toolkit.evals.sampling import load_task
from toolkit.spec.load import load_spec
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.runs import RunFolder

SPEC = """
name = "small"
seed = 1
[data]
sequence_length = 32
tokenizer = {{ kind = "characters", vocab_size = 32 }}
validation = 0.1
sources = [{{ kind = "files", path = "{folder}/rows.jsonl", text_key = "text" }}]
[model]
kind = "modernbert"
n_layers = 2
d_model = 64
n_heads = 2
[objective]
kind = "masked_lm"
share = 0.15
replace = "bert"
[train]
duration = "300 steps"
batch = "16 rows"
optimizer = {{ kind = "muon" }}
[run]
device = "cpu"
precision = "float32"
[finetune.place]
kind = "regress"
data = {{ kind = "files", path = "{folder}/rows.jsonl", validation = 0.25, limit = 160 }}
duration = "400 steps"
tune = {{ kind = "head" }}
pool = "{pool}"
"""
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
WILD = "".join(random.Random(1).choices(LETTERS, k=30))
"""Of which each row differs in one place."""


def rows(n: int) -> list[dict[str, object]]:
    rng = random.Random(0)
    places = [rng.randrange(len(WILD)) for _ in range(n)]
    others = [rng.choice([letter for letter in LETTERS if letter != WILD[place]]) for place in places]
    texts = [WILD[:place] + other + WILD[place + 1 :] for place, other in zip(places, others, strict=True)]
    # What the place is worth is a fixed random number for the letter that should stand there.
    worth = {letter: rng.gauss(0, 1) for letter in LETTERS}
    return [{"text": text, "value": worth[WILD[place]]} for text, place in zip(texts, places, strict=True)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """The fine-tunes by how they pool; the pretraining serves both."""
    folder, found = tmp_path_factory.mktemp("surprisal"), {}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(700)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TK_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for pool in ("surprisal", "mean"):
            path = folder / "small.toml"
            path.write_text(SPEC.format(folder=folder, pool=pool))
            overrides = ["name=other", "finetune.place.parent=small/pretrain"] if pool == "mean" else []
            for job in make_jobs(load_spec(path, overrides), "place" if overrides else None, folder / "runs"):
                assert carry_out(job, Interrupts()) == 0
            found[pool] = job.run
    return found


def spearman(run: RunFolder) -> float:
    return float(CheckpointStore(run).resolve("last").metrics["val/spearman"])


@pytest.mark.slow
def test_it_learns_what_the_mean_does_not_show(made: dict[str, RunFolder]) -> None:
    assert spearman(made["surprisal"]) > 0.7
    assert spearman(made["mean"]) < spearman(made["surprisal"]) - 0.2


@pytest.mark.slow
def test_the_parents_head_is_read_and_left_with_the_parent(made: dict[str, RunFolder]) -> None:
    run = made["surprisal"]
    last = CheckpointStore(run).resolve("last")
    assert set(read_own_weights(last)) == {"score.weight", "score.bias"}
    loaded = load_task(last)
    assert sum(weight.numel() for weight in loaded.task.parameters()) == loaded.plan.parameters.total + 1
    assert loaded.plan.trainable == 64
    row, planned = loaded.plan.row_length, loaded.plan.flops_per_token
    assert loaded.task.forward_flops(row) == pytest.approx(planned * row, rel=1e-3)
    assert "tk export" in RunFolder(run.root, run.name, "pretrain").console.read_text()
    assert "tk export" not in run.console.read_text(), "no class of transformers has such a head"
    actual = next(event["actual"] for event in read_events(run) if event["kind"] == "finished")
    assert actual["flops"] == pytest.approx(loaded.plan.flops, rel=0.05)


@pytest.mark.slow
def test_a_row_is_read_alike_alone_and_among_others(made: dict[str, RunFolder], tmp_path: Path) -> None:
    run = made["surprisal"]
    some = rows(700)[-3:]
    lines = tmp_path / "some.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in [*some, {"text": WILD[:20]}]))
    arguments = ["predict", str(run), "--runs", str(run.root), "--json"]
    together = CliRunner().invoke(app, [*arguments, "--file", str(lines)])
    assert together.exit_code == 0, together.output
    values = [json.loads(line)["value"] for line in together.stdout.splitlines()]
    alone = CliRunner().invoke(app, [*arguments, json.dumps(some[0])])
    assert json.loads(alone.stdout)["value"] == pytest.approx(values[0], abs=1e-4)
    assert len(set(values)) > 2
