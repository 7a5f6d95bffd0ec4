"""`[objective]`: the self-supervised task."""

from typing import Literal

from toolkit.spec.section import Section


class CausalLM(Section):
    """Predict the next token (Radford 2018)."""

    kind: Literal["causal_lm"]


Objective = CausalLM
