"""What makes two plans the same: canonical bytes, and the fields that change a result."""

import hashlib
import json
from typing import Any

from toolkit.spec.model import Architecture
from toolkit.spec.spec import Spec

IDENTITY_VERSION = 1
"""Raised when the same fields come to mean another result."""

# Known only once the corpus is read, and fixed by `data`, which is part of the identity itself.
_DERIVED_FROM_DATA = {"vocab_size"}


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


def plan_identity(
    spec: Spec, architecture: Architecture, *, stage: str = "pretrain", parent: str | None = None
) -> dict[str, Any]:
    """The fields of a stage that change its result; `fingerprint` of it is the plan's fingerprint.

    The architecture stands for `[model]`, so a default and the same value written out are one identity.
    `run`, `name` and `description` are left out, as is what follows from the machine.

    Args:
        parent: Fingerprint of the parent's plan; None for a stage that starts from nothing.
    """
    data = spec.data.model_dump(mode="json")
    for source in data["sources"]:
        source.pop("streaming", None)  # how the documents travel, not which they are
    return {
        "version": IDENTITY_VERSION,
        "stage": stage,
        "seed": spec.seed,
        "data": data,
        "model": architecture.model_dump(mode="json", exclude=_DERIVED_FROM_DATA),
        "objective": spec.objective.model_dump(mode="json"),
        "train": spec.train.model_dump(mode="json"),
        "parent": parent,
    }


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not text")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)
