"""Which class carries out which objective: one line each."""

from collections.abc import Callable

from toolkit.models.task import Task
from toolkit.objectives.causal_lm import CausalLMTask
from toolkit.objectives.contrastive import ContrastiveTask
from toolkit.objectives.masked_image import MaskedImageTask
from toolkit.objectives.masked_lm import MaskedLMTask
from toolkit.objectives.rotation import RotationTask

OBJECTIVES: dict[str, Callable[..., Task]] = {
    "causal_lm": CausalLMTask,
    "masked_lm": MaskedLMTask,
    "rotation": RotationTask,
    "masked_image": MaskedImageTask,
    "contrastive": ContrastiveTask,
}
