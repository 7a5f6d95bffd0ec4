"""Models by their name on the Hugging Face hub: the files that are read, and nothing that runs."""

import re
from pathlib import Path

from toolkit.data.sources.hub import first_line
from toolkit.data.sources.reach import why_unreachable
from toolkit.interop.errors import InteropError
from toolkit.interop.folder import ADAPTER_WEIGHTS, SMALL

PATTERNS = (*SMALL, "model.safetensors", "model-*.safetensors", ADAPTER_WEIGHTS)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_hub_name(text: str) -> bool:
    """Whether it may name a model on the hub: `gpt2`, `Qwen/Qwen3-0.6B`."""
    return bool(_NAME.fullmatch(text))


def download(name: str, revision: str | None = None) -> Path:
    """The folder of a model's files in the hub's cache, fetched where they aren't there yet.

    Its last part is the commit. Raises InteropError where it can't be had.
    """
    if not is_hub_name(name):
        raise InteropError(f"{name}: no such folder (relative paths start at {Path.cwd()}).")
    reason = why_unreachable()
    import huggingface_hub

    try:
        folder = Path(
            huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(PATTERNS))
        )
    except (OSError, ValueError, RuntimeError) as error:
        why = reason or first_line(error)
        raise InteropError(
            f"{name}: neither a folder here nor a model that the hub gives: {why}. To work offline, download it once "
            f"(`hf download {name} --include '*.json' '*.safetensors' '*.jinja' --local-dir FOLDER`) and write "
            "hf:FOLDER."
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise InteropError(
            f"{name}: has no safetensors on the hub. Pickled weights (.bin) are not read, as they can run code."
        )
    return folder
