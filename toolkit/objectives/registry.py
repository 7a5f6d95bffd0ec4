"""Which class carries out which objective: one line each."""

from toolkit.objectives.causal_lm import CausalLMTask
from toolkit.objectives.task import Task
from toolkit.spec.model import Architecture
from toolkit.spec.objective import Objective

OBJECTIVES: dict[str, type[CausalLMTask]] = {
    "causal_lm": CausalLMTask,
}


def build_task(objective: Objective, architecture: Architecture) -> Task:
    """The task of an `[objective]` section, with freshly made, uninitialised weights."""
    return OBJECTIVES[objective.kind](objective, architecture)
