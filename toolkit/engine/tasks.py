"""Every task there is, by the kind of its section: objectives and targets are the same to the engine."""

from collections.abc import Callable

from toolkit.models.task import Given, Task, Vocabulary
from toolkit.objectives.registry import OBJECTIVES
from toolkit.plan.plan import Plan
from toolkit.targets.registry import TARGETS

TASKS: dict[str, Callable[..., Task]] = {**OBJECTIVES, **TARGETS}


def build_task(plan: Plan, tokenizer: Vocabulary | None) -> Task:
    """The task of a plan, with freshly made, uninitialised weights."""
    return TASKS[plan.task.kind](plan.task, Given(plan.architecture, plan.labels, tokenizer))
