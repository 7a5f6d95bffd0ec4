"""What makes two plans the same: canonical bytes, and the fields that change a result."""

import hashlib
import json
from typing import Any

from toolkit.plan.parent import ParentRecord
from toolkit.spec.model import Architecture
from toolkit.spec.recovery import Recovery
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.spec.target import Finetune

IDENTITY_VERSION = 1
"""Raised when the same fields come to mean another result."""

# Known only once the corpus is read, and fixed by `data`, which is part of the identity itself.
_DERIVED_FROM_DATA = {"vocab_size"}
_LATER = {"head": "linear", "pixel_mean": [0.5], "pixel_std": [0.5]}
"""Fields of an architecture that came later, and what they stand at where nobody asked for them: no part of an identity
then, so that runs from before keep theirs."""
_AS_BEFORE = Recovery().model_dump(mode="json")


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, in UTF-8: equal values give equal bytes.

    Raises ValueError for NaN and infinities, TypeError for keys that are not text (JSON would rename
    them) and for values that JSON doesn't hold.
    """
    _check_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def fingerprint(value: Any) -> str:
    """sha256 of `canonical(value)`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def plan_identity(spec: Spec, architecture: Architecture) -> dict[str, Any]:
    """The fields of a pretraining that change its result; `fingerprint` of it is the plan's fingerprint.

    The architecture stands for `[model]`, so a default and the same value written out are one identity.
    `run`, `name`, `description` and `finetune` are left out, as is what follows from the machine.
    """
    assert spec.objective is not None
    assert spec.train is not None
    data = spec.data.model_dump(mode="json", exclude={"root"})  # the paths hold it
    for source in data["sources"]:
        source.pop("streaming", None)  # how the documents travel, not which they are
    return {
        "version": IDENTITY_VERSION,
        "stage": PRETRAIN,
        "seed": spec.seed,
        "data": data,
        "model": _model(architecture),
        "objective": spec.objective.model_dump(mode="json"),
        "train": _without_defaults(spec.train.model_dump(mode="json")),
        "parent": None,
    }


def target_identity(seed: int, target: Finetune, parent: ParentRecord) -> dict[str, Any]:
    """The fields of a fine-tune that change its result.

    What the spec leaves open stays open here: it follows from the rest. The parent's fingerprint stands for all
    that the parent is.
    """
    section = _without_defaults(target.model_dump(mode="json", exclude={"parent", "on_bad_row"}))
    if section.get("head", "") is None:  # an option that came later
        del section["head"]
    return {
        "version": IDENTITY_VERSION,
        "stage": "finetune",
        "seed": seed,
        "target": section,
        "parent": [parent.fingerprint, parent.selector],
    }


def _model(architecture: Architecture) -> dict[str, Any]:
    fields = architecture.model_dump(mode="json", exclude=_DERIVED_FROM_DATA)
    return {name: value for name, value in fields.items() if name not in _LATER or value != _LATER[name]}


def _without_defaults(section: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what came later and is as it was before it came: earlier runs keep their fingerprints."""
    if section["recovery"] == _AS_BEFORE:
        section.pop("recovery")
    return section


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not text")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)
