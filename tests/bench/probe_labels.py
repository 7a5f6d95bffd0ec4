"""What a pretrained vision trunk's features are worth at few labels: `python tests/bench/probe_labels.py RUN …`

A linear classifier (logistic regression on standardised features) is fitted to so many labelled training rows, equally
many of each class, and tried on the held-out rows; the mean over ten draws. The same is done with the trunk as it was
before training.
"""

import argparse

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from toolkit.data.dataset import Split
from toolkit.data.images.prepare import prepare_images
from toolkit.evals.sampling import load_task
from toolkit.models.task import Task
from toolkit.store.checkpoints import find_checkpoint
from toolkit.store.runs import runs_root

DRAWS = 10


@torch.inference_mode()
def features(task: Task, split: Split) -> tuple[np.ndarray, np.ndarray]:
    vectors, labels = [], []
    for start in range(0, split.n_rows, 256):
        rows = split.table(start, start + 256)
        images = torch.from_numpy(rows["inputs"])
        vectors.append(task.trunk.pooled(task.trunk(images)).float().numpy())
        labels.append(rows["label"])
    return np.concatenate(vectors), np.concatenate(labels)


def probe(train, held_out, n_labels: int) -> tuple[float, float]:
    """Mean and standard deviation of the accuracy over draws of labelled rows."""
    x, y = train
    scores = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        classes = np.unique(y)
        each = max(1, n_labels // len(classes))
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:each] for c in classes])
        mean, std = x[rows].mean(0), x[rows].std(0) + 1e-5
        model = LogisticRegression(C=1.0, max_iter=500).fit((x[rows] - mean) / std, y[rows])
        scores.append(model.score((held_out[0] - mean) / std, held_out[1]))
    return float(np.mean(scores)), float(np.std(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--labels", default="10,50,100,500")
    arguments = parser.parse_args()
    counts = [int(text) for text in arguments.labels.split(",")]
    for run in arguments.runs:
        _, checkpoint = find_checkpoint(run, runs_root(None))
        task, _, plan = load_task(checkpoint)
        data = prepare_images(plan.data)
        for name in ("random", "pretrained"):
            if name == "random":
                weights = task.state_dict()
                weights = {key: value.clone() for key, value in weights.items()}
                task.initialise(plan.seed)
            else:
                task.load_state_dict(weights)
            parts = features(task, data.train), features(task, data.validation)
            found = [probe(*parts, count) for count in counts]
            text = "  ".join(
                f"{n}: {mean:.3f}±{std:.3f}" for n, (mean, std) in zip(counts, found, strict=True)
            )
            print(f"{run} step {checkpoint.step} {name:<10} {text}", flush=True)


if __name__ == "__main__":
    main()
