"""Reads the tokenizer of others: a `tokenizer.json`, a Hugging Face folder, or a name on the hub."""

import re
from contextlib import suppress
from pathlib import Path

from toolkit.data.errors import DataError
from toolkit.data.sources.hub import first_line
from toolkit.data.sources.reach import why_unreachable
from toolkit.data.tokenizer import TextTokenizer

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def pretrained(path: str) -> TextTokenizer:
    """The tokenizer at `path`. Files come before names on the hub.

    Raises:
        DataError: There is no such file, folder or name, the hub can't be reached, or it is no tokenizer.
    """
    local = Path(path).expanduser()
    if local.exists():
        return TextTokenizer.read(local)
    if local.suffix == ".json" or not _HUB_NAME.fullmatch(path):
        raise DataError(path, f"no such tokenizer (relative paths start at {Path.cwd()})")
    return TextTokenizer.read(_download(path))


def _download(name: str) -> Path:
    reason = why_unreachable()
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        file = huggingface_hub.hf_hub_download(name, "tokenizer.json")
    except (OSError, ValueError, RuntimeError) as error:
        why = reason or first_line(error)
        raise DataError(
            name,
            f"neither a file here nor a tokenizer that the hub gives: {why}. To work offline, download it "
            f"once (`hf download {name} tokenizer.json --local-dir FOLDER`) and set path to that folder",
        ) from error
    with suppress(EntryNotFoundError, LocalEntryNotFoundError):
        huggingface_hub.hf_hub_download(name, "tokenizer_config.json")  # lands beside it
    return Path(file)
