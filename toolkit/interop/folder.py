"""A Hugging Face folder, read as something that anybody may have written: JSON and safetensors, and no more."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from toolkit.data.tokenizer import CHAT_TEMPLATE, CONFIG, FILE, named_token
from toolkit.interop.errors import InteropError
from toolkit.store.atomic import read_json
from toolkit.store.errors import BadFile

if TYPE_CHECKING:
    from torch import Tensor

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SPECIAL_TOKENS = "special_tokens_map.json"
PROCESSOR = "preprocessor_config.json"
SMALL = (MODEL_CONFIG, ADAPTER_CONFIG, INDEX, FILE, CONFIG, SPECIAL_TOKENS, CHAT_TEMPLATE, PROCESSOR)
"""Files that an import reads beside the weights, where they are there."""
LARGEST_OBJECT = 16 << 20
LARGEST_INDEX = 256 << 20
LARGEST_TEMPLATE = 1 << 20
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")
_CHUNK = 16 << 20

Advance = Callable[[int], None]
"""Told of bytes as they are read."""


def read_object(file: Path, largest: int = LARGEST_OBJECT) -> dict[str, Any]:
    """The JSON object in a file. Raises InteropError."""
    try:
        return read_json(file, largest)
    except FileNotFoundError:
        raise InteropError(f"{file.parent}: has no {file.name}.") from None
    except OSError as error:
        raise InteropError(f"{file}: can't be read: {error.strerror}.") from error
    except BadFile as error:
        raise InteropError(f"{error}.") from error


def read_beside(folder: Path) -> Callable[[str], dict[str, Any] | None]:
    """Reads other files of a folder by their names; None where there is none. Raises InteropError."""

    def read(name: str) -> dict[str, Any] | None:
        return read_object(folder / name) if (folder / name).is_file() else None

    return read


def weight_files(folder: Path) -> list[str]:
    """Names of the files that hold the weights: one, or those that the index names. Raises InteropError."""
    index = folder / INDEX
    if not index.exists():
        return [WEIGHTS]
    shards = read_object(index, LARGEST_INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InteropError(f"{index}: has no weight_map.")
    for name in shards.values():
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise InteropError(f"{index}: names a file outside the folder, {name!r}.")
    return sorted(set(shards.values()))


def tensor_names(folder: Path, names: Sequence[str]) -> set[str]:
    """What safetensors files hold, by their headers alone. Raises InteropError."""
    found: set[str] = set()
    for name in names:
        try:
            with safe_open(folder / name, framework="numpy") as file:
                found.update(file.keys())
        except (SafetensorError, OSError, ValueError) as error:
            raise InteropError(f"{folder / name}: is not a whole safetensors file ({error}).") from error
    return found


def read_tensors(folder: Path, names: Sequence[str]) -> "dict[str, Tensor]":
    """The tensors of safetensors files, by name. Raises InteropError."""
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for name in names:
        file = folder / name
        if not file.is_file():
            raise InteropError(f"{folder}: has no {name}.{_pickles(folder)}")
        try:
            found = load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise InteropError(f"{file}: is not a whole safetensors file ({error}).") from error
        if twice := sorted(found.keys() & tensors.keys()):
            raise InteropError(f"{file}: holds {twice[0]}, which another file holds too.")
        tensors.update(found)
    return tensors


def _pickles(folder: Path) -> str:
    pickled = sorted(path.name for end in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{end}"))
    if not pickled:
        return ""
    return (
        f" Pickled weights ({Path(pickled[0]).suffix}) are not read, as they can run code: there is {pickled[0]}. "
        "Save it as safetensors, with transformers: model.save_pretrained(FOLDER)."
    )


def files_of(folder: Path) -> list[str]:
    """Names of the files that an import of the folder reads. Raises InteropError for one without weights."""
    weights = [ADAPTER_WEIGHTS] if (folder / ADAPTER_CONFIG).is_file() else weight_files(folder)
    for name in weights:
        if not (folder / name).is_file():
            raise InteropError(f"{folder}: has no {name}.{_pickles(folder)}")
    return sorted({*weights, *(name for name in SMALL if (folder / name).is_file())})


def hash_files(folder: Path, names: Sequence[str], advance: Advance = lambda n: None) -> dict[str, str]:
    """sha256 in hex of each file, by name."""
    found = {}
    for name in names:
        digest = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                advance(len(chunk))
        found[name] = digest.hexdigest()
    return found


def end_of_text(folder: Path, config: dict[str, Any]) -> str | None:
    """The token that ends a text, by whichever file of the folder says so; None where none does."""
    return _role(folder, config, "eos")


def begin_of_text(folder: Path, config: dict[str, Any]) -> str | None:
    """The token that stands before a text; None for a model that has none."""
    # A tokenizer that is told not to put it there means that the model was trained without.
    tokenizer = _optional(folder / CONFIG)
    return None if tokenizer.get("add_bos_token") is False else _role(folder, config, "bos")


def _role(folder: Path, config: dict[str, Any], role: str) -> str | None:
    for name in (CONFIG, SPECIAL_TOKENS):
        if token := named_token(folder / name, f"{role}_token"):
            return token
    number = config.get(f"{role}_token_id")
    number = number[0] if isinstance(number, list) and number else number
    return _tokens(folder).get(number) if isinstance(number, int) else None


def _tokens(folder: Path) -> dict[int, str]:
    """Added tokens by id: those with a role are among them."""
    added = _optional(folder / FILE).get("added_tokens", [])
    return {
        t["id"]: str(t["content"]) for t in added if isinstance(t, dict) and {"id", "content"} <= t.keys()
    }


def chat_template(folder: Path) -> str | None:
    """The template of conversations: a file of its own, or a key of the tokenizer's configuration.

    Raises InteropError for one that is not text, or too long.
    """
    file = folder / CHAT_TEMPLATE
    if file.is_file():
        if file.stat().st_size > LARGEST_TEMPLATE:
            raise InteropError(f"{file}: is larger than {LARGEST_TEMPLATE} bytes: no template.")
        try:
            return file.read_text(encoding="utf-8")
        except ValueError as error:
            raise InteropError(f"{file}: is not text in UTF-8 ({error}).") from error
    template = _optional(folder / CONFIG).get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) and len(template) <= LARGEST_TEMPLATE else None


def _optional(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
