"""Which class carries out which objective: one line each."""

from collections.abc import Callable

from toolkit.models.task import Task
from toolkit.objectives.causal_lm import CausalLMTask

OBJECTIVES: dict[str, Callable[..., Task]] = {
    "causal_lm": CausalLMTask,
}
