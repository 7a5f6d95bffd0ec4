"""A linear probe on every layer: where in the trunk the knowledge of a labelled set sits (Alain and Bengio 2016)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from toolkit.data.dataset import Split, arrays
from toolkit.data.progress import Progress
from toolkit.engine.datasets import prepare_stage
from toolkit.evals.sampling import load_trunk
from toolkit.models.build import build_trunk
from toolkit.models.initialise import initialise
from toolkit.models.pooling import pooled
from toolkit.models.trunk import Trunk
from toolkit.plan.errors import PlanError
from toolkit.plan.parents import find_parent
from toolkit.spec.spec import Spec
from toolkit.spec.target import Finetune
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder

ROWS = 64
"""Rows computed at once."""
STAGE = "probe"
Watch = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


class Score(NamedTuple):
    """A probe's score on held-out rows."""

    layer: int
    """Blocks below it; 0 is the embedding."""
    score: float


@dataclass(frozen=True)
class ProbeReport:
    """The scores by depth."""

    run: str
    step: int
    checkpoint: str
    target: str
    metric: str
    """`accuracy` or `r2`."""
    pool: str
    trained: tuple[Score, ...]
    random: tuple[Score, ...]
    """Of the same trunk with random weights; empty if it was not asked for."""
    baseline: float
    """Of the most frequent label, or the mean."""
    train_rows: int
    validation_rows: int

    @property
    def best(self) -> Score:
        return max(self.trained, key=lambda score: score.score)


class Layers(NamedTuple):
    """What the probes learn from."""

    vectors: list[NDArray[np.float32]]
    """Of each layer, (rows, d_model)."""
    wanted: NDArray[Any]
    """Label numbers or values, (rows,)."""


def probe_layers(
    run: RunFolder,
    checkpoint: Checkpoint,
    target: Finetune,
    *,
    name: str,
    pool: str | None = None,
    random_too: bool = False,
    seed: int = 1,
    device: str = "cpu",
    watch: Watch = lambda what, done, total: None,
    progress: Progress | None = None,
) -> ProbeReport:
    """Probe a checkpoint's trunk with the rows of a target.

    Args:
        pool: `last` or `mean`; by default as the target has it, or else the trunk.
        random_too: Also the same trunk with random weights.

    Raises PlanError for a target that is not a label or a number a row, DataError, and StoreError.
    """
    spec = Spec(name=STAGE, seed=seed, parent=f"{run}@{checkpoint.id}", finetune={STAGE: target})
    key = {"classify": "label", "regress": "value"}.get(target.kind)
    if key is None:
        raise PlanError(f'a probe needs one label or number a row, and "{name}" is for {target.kind}')
    parent = find_parent(spec, STAGE, root=run.root)
    dataset = prepare_stage(spec, STAGE, parent, checkpoint, progress=progress)
    own = getattr(target, "pool", None)
    how = pool or (None if own == "surprisal" else own)  # what surprises is known of the last layer alone
    trunks: dict[str, Trunk] = {"trained": load_trunk(checkpoint, device)}
    if random_too:
        fresh = build_trunk(trunks["trained"].arch)
        initialise(fresh, seed=seed)
        trunks["random"] = fresh.to(device).eval()
    scores: dict[str, tuple[Score, ...]] = {}
    metric, baseline = "", 0.0
    for kind, trunk in trunks.items():
        train, held_out = (
            read_layers(trunk, split, key, how, partial(watch, f"{kind}: layers of {rows} rows"))
            for rows, split in (("training", dataset.train), ("held-out", dataset.validation))
        )
        found = []
        for layer, (x, held_x) in enumerate(zip(train.vectors, held_out.vectors, strict=True)):
            watch(f"{kind}: probes", layer, len(train.vectors))
            metric, score, baseline = fit(x, train.wanted, held_x, held_out.wanted, classes=key == "label")
            found.append(Score(layer, score))
        scores[kind] = tuple(found)
    return ProbeReport(
        run=str(run),
        step=checkpoint.step,
        checkpoint=checkpoint.id,
        target=name,
        metric=metric,
        pool=how or "of the trunk",
        trained=scores["trained"],
        random=scores.get("random", ()),
        baseline=baseline,
        train_rows=dataset.train.n_rows,
        validation_rows=dataset.validation.n_rows,
    )


@torch.inference_mode()
def read_layers(
    trunk: Trunk, split: Split, key: str, pool: str | None, watch: Callable[[int, int], None]
) -> Layers:
    """The pooled vectors of every layer, for all rows of a split."""
    device = next(trunk.parameters()).device
    parts: list[list[NDArray[np.float32]]] = []
    wanted = []
    for start in range(0, split.n_rows, ROWS):
        rows: Mapping[str, Any] = arrays(split.table(start, min(start + ROWS, split.n_rows)))
        inputs = torch.from_numpy(rows["inputs"]).to(device)
        lengths = torch.from_numpy(rows["lengths"]).to(device) if "lengths" in rows else None
        told = {"segments": torch.from_numpy(rows["segments"]).to(device)} if "segments" in rows else {}
        states = trunk.layers(inputs, lengths, **told)
        parts.append([pooled(trunk, state, lengths, pool).float().cpu().numpy() for state in states])
        wanted.append(rows[key])
        watch(min(start + ROWS, split.n_rows), split.n_rows)
    vectors = [np.concatenate(layer) for layer in zip(*parts, strict=True)]
    return Layers(vectors, np.concatenate(wanted))


def fit(
    x: NDArray[Any], y: NDArray[Any], held_x: NDArray[Any], held_y: NDArray[Any], *, classes: bool
) -> tuple[str, float, float]:
    """The metric, a linear probe's score on the held-out rows, and that of the best constant."""
    import warnings

    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(max_iter=500) if classes else RidgeCV(np.logspace(-2, 4, 7))
    constant = DummyClassifier() if classes else DummyRegressor()
    probe = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        # A probe that is not quite at its optimum scores as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(x, y)
    score, least = probe.score(held_x, held_y), constant.fit(x, y).score(held_x, held_y)
    return "accuracy" if classes else "r2", float(score), float(least)


def draw(report: ProbeReport) -> Figure:
    """Score by depth."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, scores, colour in (
        (f"{report.run} step {report.step}", report.trained, "#0b6e4f"),
        ("random weights", report.random, "#b4541a"),
    ):
        if scores:
            axes.plot(
                [s.layer for s in scores], [s.score for s in scores], marker="o", color=colour, label=name
            )
    axes.axhline(report.baseline, color="grey", linestyle=":", label="best constant")
    axes.set_xticks([score.layer for score in report.trained])
    axes.set_xlabel("blocks below the probe")
    axes.set_ylabel(report.metric)
    axes.set_title(
        f"{report.target}: linear probes, {report.train_rows:,} rows", fontsize=10, parse_math=False
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def save(report: ProbeReport, path: Path) -> None:
    """The picture, by the path's ending: .png, .svg or .pdf."""
    draw(report).savefig(path, dpi=150)
