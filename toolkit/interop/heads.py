"""Supervised heads as classes of `transformers` have them: a matrix, and what their family has under it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from toolkit.interop.errors import InteropError
from toolkit.interop.families import FAMILIES
from toolkit.interop.families.family import Head
from toolkit.plan.plan import Plan
from toolkit.spec.export import Family
from toolkit.spec.model import GPTArchitecture
from toolkit.spec.target import Target

PROBLEMS = {
    "classify": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regress": "regression",
    "tag": None,
}
"""The targets that have such a head, and what `transformers` calls them."""
OFFSET = "tk_offset"
"""In `config.json`: what to add to the output of a regression whose family has no place for it."""


class Scores(NamedTuple):
    """A head in the units of the data."""

    head: Head
    weight: Tensor
    """(outputs, d_model)."""
    bias: Tensor | None
    """(outputs,): what the head adds; None for nothing."""
    neck: Mapping[str, Tensor]
    """What stands under the matrix, by our names."""
    config: dict[str, Any]
    """Labels, kind of problem and the way to take a row's vector."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """By the family's names, without a bias that it has no place for."""
        found = {f"{self.head.score}.weight": self.weight}
        if self.head.has_bias:
            bias = torch.zeros(len(self.weight)) if self.bias is None else self.bias
            found[f"{self.head.score}.bias"] = bias
        for ours, theirs in self.head.neck.items():
            kinds = (
                name.removeprefix(f"neck.{ours}.") for name in self.neck if name.startswith(f"neck.{ours}.")
            )
            found |= {f"{theirs}.{kind}": self.neck[f"neck.{ours}.{kind}"] for kind in kinds}
        return found


def find_head(plan: Plan, family: Family) -> Head:
    """The class that has the head of a fine-tune. Raises InteropError, with the way out, where none has."""
    target, arch = plan.task, plan.architecture
    assert isinstance(target, Target)
    run = f"{plan.name}/{plan.stage}"
    head = FAMILIES[family].heads.get(target.reads_with)
    if head is None:
        raise InteropError(
            f"{run} can't be exported: transformers has no {family} for {target.kind}. {_STILL}"
        )
    reasons, ways = [], []
    if head.neck and getattr(arch, "head", "linear") == "linear":
        reasons.append(f"is a matrix on the trunk's vectors, and {head.name} has more layers there")
        ways.append(f'finetune.{plan.stage}.head = "family"')
    if target.reads_with == "pooled" and (pool := pool_of(plan)) not in head.pools:
        possible = " or ".join(f'"{name}"' for name in head.pools)
        reasons.append(f'reads the "{pool}" of a row, and {head.name} the {possible}')
        ways.append(f"finetune.{plan.stage}.pool = {possible.split(' or ')[0]}")
    if reasons:
        raise InteropError(
            f"{run} can't be exported: its head {'; it '.join(reasons)}. "
            f"Fine-tune it with {' and '.join(ways)}. {_STILL}"
        )
    return head


_STILL = "`tk predict` works with it all the same."


def pool_of(plan: Plan) -> str:
    """How a row's vector is taken: `class`, `last`, `mean` or `surprisal`."""
    arch = plan.architecture
    own = "last" if isinstance(arch, GPTArchitecture) else arch.pooling
    return getattr(plan.task, "pool", None) or own


def read_scores(plan: Plan, family: Family, state: Mapping[str, Tensor]) -> Scores:
    """The head of a fine-tune; a regression's scale is folded in. Raises InteropError as `find_head` does."""
    head = find_head(plan, family)
    weight, bias = state["score.weight"].float(), state.get("score.bias")
    names = list(plan.labels)
    if plan.task.kind == "regress":
        mean, spread = map(float, plan.labels)
        weight = weight * spread
        bias = (torch.zeros(1) if bias is None else bias.float()) * spread + mean
        names = ["value"]
    config: dict[str, Any] = {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "architectures": [head.name],
    }
    if problem := PROBLEMS[plan.task.kind]:
        config |= {"problem_type": problem, **head.pools[pool_of(plan)]}
    if bias is not None and not bias.any():
        bias = None
    neck = {name: tensor for name, tensor in state.items() if name.startswith("neck.")}
    return Scores(head, weight, bias, neck, config)


def fold_bias(state: Mapping[str, Tensor], scores: Scores) -> tuple[dict[str, Tensor], Scores]:
    """The trunk's weights with a bias in them that the head has no place for, where they have one: the last norm of a
    GPT-2 adds a vector, and nothing but the head stands on it."""
    name = "trunk.norm.bias"
    if scores.bias is None or scores.head.has_bias or name not in state:
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
    if scores.bias is None or scores.head.has_bias:
        return {}, ""
    if plan.task.kind != "regress":
        raise InteropError(
            f"{plan.name}/{plan.stage} can't be exported: its head has a bias, which the family's own has no place "
            f"for; those of GPT-2, BERT and ModernBERT have. {_STILL}"
        )
    offset = float(scores.bias)
    return {OFFSET: offset}, (
        f"add {offset:.6g} to every output: the family's head has no place for it ({OFFSET} in config.json)"
    )
