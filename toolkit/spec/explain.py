"""The messages: what is wrong with a key or value, what is allowed, and the nearest known name."""

from pydantic_core import ErrorDetails

from toolkit.spec.errors import listing, nearest, shown
from toolkit.spec.fields import Type, allowed, key_paths, kind_of, known_keys
from toolkit.spec.positions import Path
from toolkit.spec.section import Section
from toolkit.spec.spec import Spec

_OTHER_NAMES = {
    "learning_rate": "lr",
    "n_embd": "d_model",
    "hidden_size": "d_model",
    "embed_dim": "d_model",
    "intermediate_size": "d_ff",
    "block_size": "sequence_length",
    "context_length": "sequence_length",
    "max_steps": "duration",
    "max_iters": "duration",
    "epochs": "duration",
    "grad_clip": "clip",
}
"""What other software calls our keys."""


def other_name(name: str, section: type[Section]) -> str | None:
    """Our name for another software's key, where the section has it."""
    ours = _OTHER_NAMES.get(name)
    return ours if ours in section.model_fields else None


def unknown_key(path: Path, near: str | None, section: type[Section]) -> str:
    """`near` is the key of this section that was probably meant."""
    if near:
        return f"unknown key. Did you mean {near}?"
    name = str(path[-1])
    ours = _OTHER_NAMES.get(name, name)
    elsewhere = {other for other in key_paths(Spec) if other.rsplit(".", 1)[-1] == ours}
    elsewhere = {other for other in elsewhere if ".NAME." not in other} or elsewhere
    elsewhere.discard(".".join(map(str, path)))
    if len(elsewhere) == 1:
        return f"unknown key. Did you mean {elsewhere.pop()}?"
    return f"unknown key. Known here: {listing(known_keys(section), 'and')}."


def missing_key(name: str, found: Type) -> str:
    """`found` is the key's type; for a `kind`, the tables that it chooses from."""
    if name == "kind" and found.sections:
        return f"missing. Write {listing(shown(kind_of(section)) for section in found.sections)}."
    return f"missing. Write {allowed(found)}."


def not_one_of(value: object, choices: tuple[str, ...]) -> str:
    near = nearest(value, choices) if isinstance(value, str) else None
    hint = f" Did you mean {near}?" if near and len(choices) > 1 else ""
    return f"{shown(value)} is unknown. Write {listing(map(shown, choices))}.{hint}"


def wrong_value(found: Type, detail: ErrorDetails) -> str:
    """What is wrong with a value, from Pydantic's error about it."""
    context, value = detail.get("ctx", {}), detail["input"]
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return not_one_of(value, found.choices)
        case "too_short":
            return f"must hold at least {context['min_length']} of them, not {context['actual_length']}."
        case "missing" | "too_long":
            return f"must be {allowed(found)}."
    return f"must be {allowed(found)}, not {shown(value)}."
