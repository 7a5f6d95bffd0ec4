"""What features are worth without training on labels: neighbours, a linear probe, and signs of collapse."""

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 10
RIDGE = 1.0
"""Weight of the penalty of the linear probe, on standardised features."""


def knn_accuracy(features: Tensor, labels: Tensor, k: int = NEIGHBOURS) -> float:
    """Share of rows whose label most of their `k` nearest other rows have, weighted by cosine similarity.

    `features` is (rows, d), `labels` (rows,).
    """
    x = F.normalize(features, dim=1)
    similarity = x @ x.T
    similarity.fill_diagonal_(-torch.inf)
    near, index = similarity.topk(min(k, len(x) - 1), dim=1)
    votes = torch.zeros(len(x), int(labels.max()) + 1)
    votes.scatter_add_(1, labels[index], (near / 0.1).softmax(1))
    return float((votes.argmax(1) == labels).float().mean())


def probe_accuracy(features: Tensor, labels: Tensor, penalty: float = RIDGE) -> float:
    """Accuracy of least-squares classifiers, each fitted on one half of the rows and tried on the other."""
    half = torch.arange(len(features)) % 2 == 0
    correct = 0
    for fitted in (half, ~half):
        scores = ridge_scores(features[fitted], labels[fitted], features[~fitted], penalty)
        correct += int((scores.argmax(1) == labels[~fitted]).sum())
    return correct / len(features)


def ridge_scores(x: Tensor, labels: Tensor, unseen: Tensor, penalty: float = RIDGE) -> Tensor:
    """Scores (rows, classes) of `unseen` by a least-squares fit of one-hot labels to `x`."""
    x, unseen = x.double(), unseen.double()
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x, unseen = (x - mean) / std, (unseen - mean) / std
    targets = F.one_hot(labels).double()
    centre = targets.mean(0)
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    scores: Tensor = unseen @ torch.linalg.solve(gram, x.T @ (targets - centre)) + centre
    return scores


def effective_rank(features: Tensor) -> float:
    """Dimensions that the features make use of: the exponential of the entropy of their singular values'
    shares (Roy 2007; Garrido 2023 judge pretraining by it). 1 is a full collapse."""
    values = torch.linalg.svdvals(features.double() - features.double().mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


def spread(features: Tensor) -> float:
    """Standard deviation of the features' directions, 1 for uniform ones and 0 for a collapse (Chen 2021)."""
    return float(F.normalize(features.double(), dim=1).std(0).mean() * features.shape[1] ** 0.5)
