"""Where an imported model came from."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolkit.plan.fingerprint import fingerprint

IMPORT = "import"
IMPORT_VERSION = 1
"""Raised when the same files would be read into other weights."""


class Body(BaseModel):
    """The task of a model that came without a head: none. It is there to be fine-tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["body"] = "body"


class Origin(BaseModel):
    """The files that a model was imported from. What they were trained on, and how, is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    """`hf:FOLDER` with the folder's whole path, or `hf:NAME` on the hub."""
    family: str
    """`gpt2`, `llama`, `qwen3` …"""
    revision: str | None = None
    """Commit on the hub."""
    adapter_of: str | None = None
    """The base that a PEFT adapter was merged into; None for a whole model."""
    files: Mapping[str, str]
    """sha256 of each file that was read, by name."""
    notes: tuple[str, ...] = ()
    """What the folder asks for and does not get, such as code of its own."""

    @property
    def fingerprint(self) -> str:
        """Of the content, wherever it lies."""
        return fingerprint({"version": IMPORT_VERSION, "stage": IMPORT, "files": dict(self.files)})
