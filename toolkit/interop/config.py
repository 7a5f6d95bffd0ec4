"""`config.json` of a Hugging Face folder, written from an architecture and read back into one. Needs no torch."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from toolkit.interop.errors import InteropError
from toolkit.interop.families import FAMILIES
from toolkit.interop.families.family import Beside, Config
from toolkit.spec.export import Family
from toolkit.spec.model import Architecture


class Described(NamedTuple):
    """What a configuration describes."""

    family: Family
    architecture: Architecture
    classes: tuple[str, ...] = ()
    """What the folder was saved from, where it says so."""


def write_config(family: Family, arch: Architecture, dtype: str) -> Config:
    """The family's configuration of `arch`, without token ids. `dtype` names the type of the weights."""
    known = FAMILIES[family]
    return {
        "architectures": [known.words or known.body],
        "model_type": family,
        # transformers 4 reads `torch_dtype`; 5 prefers `dtype` and still takes the older name.
        "dtype": dtype,
        "torch_dtype": dtype,
        **known.write(arch),
    }


def read_config(config: Mapping[str, Any], source: str, beside: Beside = lambda name: None) -> Described:
    """What `config` describes; `beside` reads other files of its folder.

    Raises InteropError, naming `source`, if it is of another family or class, or uses an option that this toolkit's
    models don't have.
    """
    kind = config.get("model_type")
    family = next((name for name, known in FAMILIES.items() if kind in known.model_types), None)
    if family is None:
        types = ", ".join(kind for known in FAMILIES.values() for kind in known.model_types)
        raise InteropError(f"{source}: model_type {_shown(kind)} can't be read. Known families: {types}.")
    classes = _classes(config, family, source)
    _refuse(source, {"quantization_config": "quantization_config" in config})
    _check_numbers(config, source)
    try:
        arch, refusals = FAMILIES[family].read(config, beside)
    except KeyError as missing:
        raise InteropError(f"{source}: {missing.args[0]} is missing.") from missing
    except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise InteropError(f"{source}: does not describe a model: {_first_line(error)}.") from error
    _refuse(source, refusals)
    return Described(family, arch, classes)


def _classes(config: Mapping[str, Any], family: Family, source: str) -> tuple[str, ...]:
    named = config.get("architectures") or []
    known = FAMILIES[family].classes
    strange = [name for name in named if name not in known] if isinstance(named, list) else [named]
    if strange:
        raise InteropError(
            f"{source}: {_cut(str(strange[0]))} can't be read. Of {config['model_type']} these can: {', '.join(known)}."
        )
    return tuple(named)


_LARGEST = {
    "vocab_size": 1 << 24,
    "type_vocab_size": 1 << 10,
    **dict.fromkeys(("n_positions", "max_position_embeddings", "local_attention"), 1 << 24),
    **dict.fromkeys(("n_layer", "num_hidden_layers", "global_attn_every_n_layers"), 1024),
    **dict.fromkeys(("n_embd", "hidden_size"), 1 << 17),
    **dict.fromkeys(("n_head", "num_attention_heads", "num_key_value_heads"), 1024),
    "head_dim": 1 << 14,
    **dict.fromkeys(("n_inner", "intermediate_size"), 1 << 20),
    **dict.fromkeys(("image_size", "patch_size"), 1 << 14),
    "num_channels": 1 << 10,
}
"""Sizes beyond which a configuration is not a model's, and building its modules would take for ever."""
_POSITIVE = (
    "layer_norm_epsilon",
    "layer_norm_eps",
    "rms_norm_eps",
    "norm_eps",
    "rope_theta",
    "global_rope_theta",
    "local_rope_theta",
)


def _check_numbers(config: Mapping[str, Any], source: str) -> None:
    for name, largest in _LARGEST.items():
        value = config.get(name)
        sides = value if isinstance(value, list) and name in ("image_size", "patch_size") else [value]
        for side in sides:
            if side is None and value is None:
                continue  # left out, or for its default
            if not isinstance(side, int) or isinstance(side, bool) or not 0 < side <= largest:
                raise InteropError(f"{source}: {name} = {_shown(value)} is no size of a model.")
    rope = config.get("rope_parameters")
    tables = [config, rope, *rope.values()] if isinstance(rope, dict) else [config]
    for table in tables:
        for name in _POSITIVE if isinstance(table, Mapping) else ():
            value = table.get(name)
            if value is not None and not _is_positive(value):
                raise InteropError(f"{source}: {name} = {_shown(value)} is no number above zero.")


def _is_positive(value: Any) -> bool:
    try:
        return not isinstance(value, bool | str) and math.isfinite(value) and value > 0
    except (TypeError, OverflowError):
        return False


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return _cut(text, 60)


def _cut(text: str, longest: int = 300) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _first_line(error: BaseException) -> str:
    return _cut((str(error).splitlines() or [type(error).__name__])[0].rstrip("."))


def _refuse(source: str, options: Mapping[str, bool]) -> None:
    for option, present in options.items():
        if present:
            raise InteropError(f"{source}: {_cut(option)} is not something this toolkit's models can do.")
