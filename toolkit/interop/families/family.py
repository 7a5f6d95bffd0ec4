"""What is known of a family: its classes, its configuration, and the names and layout of its weights.

On our side a state dict has a task's names: `trunk.blocks.0.attention.q.weight`, `head.weight`, `neck.dense.weight`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit.spec.model import EncoderArchitecture

if TYPE_CHECKING:
    from torch import Tensor

Config = dict[str, Any]
State = Mapping[str, "Tensor"]
Refusals = dict[str, bool]
"""Options of a configuration that our models don't have, and whether it uses them."""
Beside = Callable[[str], Mapping[str, Any] | None]
"""The JSON object in another file of the folder; None where there is none."""
BERT_TOKENS = ("bos", "eos", "cls", "sep", "pad")


class Head(NamedTuple):
    """Supervised outputs, as a class of `transformers` has them."""

    name: str
    """Of the class."""
    score: str = "classifier"
    has_bias: bool = True
    neck: Mapping[str, str] = {}
    """What stands under the matrix: ours, behind `neck.`, to theirs. Empty for nothing."""
    pools: Mapping[str, Config] = {}
    """Ways to take a row's vector that the class has, and what `config.json` says of them."""


class Family(NamedTuple):
    """A family of `transformers`."""

    model_types: tuple[str, ...]
    """What `config.json` calls it; the first is written."""
    body: str
    """The class without a head."""
    words: str | None
    """The class with a language-model head."""
    also_read: tuple[str, ...]
    """Other classes with the same body, whose heads are left behind."""
    write: Callable[[Any], Config]
    read: Callable[[Mapping[str, Any], Beside], tuple[Any, Refusals]]
    """Raises KeyError, TypeError or ValueError for what describes no model."""
    to: Callable[[Any, State], "dict[str, Tensor]"]
    """Weights by the family's names, of the parts that there are. Raises KeyError if one is not whole."""
    back: Callable[[Any, State], "dict[str, Tensor]"]
    """Weights by a task's names, of the parts that there are. Raises KeyError if one is not whole."""
    heads: Mapping[str, Head] = {}
    """By what the outputs stand on: `pooled` or `positions`."""
    words_key: str | None = None
    """The weight by which a language-model head is known; None where the body is enough for one."""
    files: Callable[[Any], dict[str, Config]] = lambda arch: {}
    """What stands in a folder beside `config.json`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What can be read."""
        heads = (head.name for head in self.heads.values())
        return tuple(name for name in (self.body, self.words, *heads, *self.also_read) if name)

    def has_words(self, weights: "Mapping[str, Any] | set[str]") -> bool:
        """Whether a folder that holds these weights has a language-model head."""
        return self.words is not None and (self.words_key is None or self.words_key in weights)


def renamed(names: Mapping[str, str], state: State) -> "dict[str, Tensor]":
    return {new: state[old] for old, new in names.items()}


def part(names: Mapping[str, str], state: State) -> "dict[str, Tensor]":
    """A part that may be missing as a whole."""
    return renamed(names, state) if any(old in state for old in names) else {}


def turned(names: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in names.items()}


def with_kinds(parts: Mapping[str, str]) -> dict[str, str]:
    """Layers that have a weight and a bias."""
    return {
        f"{mine}.{kind}": f"{their}.{kind}" for mine, their in parts.items() for kind in ("weight", "bias")
    }


def write_encoder(arch: EncoderArchitecture) -> Config:
    return {
        "hidden_size": arch.d_model,
        "intermediate_size": arch.d_ff,
        "num_hidden_layers": arch.n_layers,
        "num_attention_heads": arch.n_heads,
    }


def read_encoder(config: Mapping[str, Any]) -> Config:
    heads, width = config["num_attention_heads"], config["hidden_size"]
    if width % heads:
        raise ValueError(f"hidden_size {width} is not divisible by num_attention_heads {heads}")
    return {
        "n_layers": config["num_hidden_layers"],
        "d_model": width,
        "n_heads": heads,
        "n_kv_heads": heads,
        "head_dim": width // heads,
        "d_ff": config["intermediate_size"],
        "norm": "layernorm",
        "qk_norm": False,
        "dropout": 0.0,
    }
