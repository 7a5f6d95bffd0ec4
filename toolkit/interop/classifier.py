"""Heads on one vector a row, as `AutoModelForSequenceClassification` has them: a matrix, and no bias."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from toolkit.interop.errors import InteropError
from toolkit.plan.plan import Plan
from toolkit.spec.export import Family
from toolkit.spec.model import GPTArchitecture

PROBLEMS = {
    "classify": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regress": "regression",
}
"""What transformers calls the targets that have such a head."""
CLASSES: dict[Family, str] = {
    "gpt2": "GPT2ForSequenceClassification",
    "llama": "LlamaForSequenceClassification",
    "qwen3": "Qwen3ForSequenceClassification",
}
OFFSET = "tk_offset"
"""In `config.json`: what to add to the output of a regression whose family has no place for it."""


class Scores(NamedTuple):
    """A head in the units of the data."""

    weight: Tensor
    """(outputs, d_model)."""
    bias: Tensor | None
    """(outputs,): what the head adds, which the family's own head doesn't."""
    config: dict[str, Any]
    """Labels and kind of problem."""


def read_scores(plan: Plan, state: Mapping[str, Tensor]) -> Scores:
    """The head of a classification or regression; a regression's scale is folded in."""
    if not isinstance(plan.architecture, GPTArchitecture):
        raise InteropError(
            f"{plan.name}/{plan.stage} can't be exported yet: a {plan.task.kind} head on a {plan.architecture.kind}. "
            "`tk predict` works with it all the same."
        )
    weight, bias = state["score.weight"].float(), state.get("score.bias")
    names = list(plan.labels)
    if plan.task.kind == "regress":
        mean, spread = map(float, plan.labels)
        weight = weight * spread
        bias = (torch.zeros(1) if bias is None else bias.float()) * spread + mean
        names = ["value"]
    config = {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": PROBLEMS[plan.task.kind],
    }
    if bias is not None and not bias.any():
        bias = None
    return Scores(weight, bias, config)


def fold_bias(state: Mapping[str, Tensor], scores: Scores) -> tuple[dict[str, Tensor], Scores]:
    """The trunk's weights with the head's bias in them, where they have a place for it: the last norm of a GPT-2 adds
    a vector, and nothing but the head stands on it."""
    name = "trunk.norm.bias"
    if scores.bias is None or name not in state:
        return dict(state), scores
    weight, bias = scores.weight.double(), scores.bias.double()
    shift = torch.linalg.pinv(weight) @ bias
    if not torch.allclose(weight @ shift, bias, rtol=1e-6, atol=1e-6):
        return dict(state), scores
    return {**state, name: (state[name].double() + shift).float()}, scores._replace(bias=None)


def left_over(plan: Plan, scores: Scores) -> tuple[dict[str, Any], str]:
    """What `config.json` and the user are told of a bias that has no place; nothing of none.

    Raises InteropError where predictions would change with it left out.
    """
    if scores.bias is None:
        return {}, ""
    if plan.task.kind != "regress":
        raise InteropError(
            f"{plan.name}/{plan.stage} can't be exported: its head has a bias, which the family's own has no place for."
        )
    offset = float(scores.bias)
    return {OFFSET: offset}, (
        f"add {offset:.6g} to every output: the family's head has no place for it ({OFFSET} in config.json)"
    )
