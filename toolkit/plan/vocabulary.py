"""How many tokens the model must know, before any tokenizer is trained or loaded."""

import json
from pathlib import Path
from typing import Any

from toolkit.plan.corpus import CorpusFacts
from toolkit.plan.errors import PlanError
from toolkit.spec.data import PretrainedTokenizer, Tokenizer

KNOWN_SIZES = {"openai-community/gpt2": 50_257, "gpt2": 50_257}
"""Of tokenizers that shipped specs name, so that these can be planned before anything is downloaded."""
LARGEST = 1 << 24
"""Tokens beyond which a file holds no vocabulary."""


def vocabulary_size(tokenizer: Tokenizer, facts: CorpusFacts | None = None) -> int:
    """The vocabulary of a prepared corpus, else the one asked for, else the one a `tokenizer.json` holds.

    Raises PlanError for a tokenizer that is not on this machine or can't be read.
    """
    if facts is not None:
        return facts.vocab_size
    if isinstance(tokenizer, PretrainedTokenizer):
        file = find_tokenizer_file(tokenizer.path)
        if file is None and tokenizer.path in KNOWN_SIZES:
            return KNOWN_SIZES[tokenizer.path]
        if file is None:
            raise PlanError(
                f"data.tokenizer.path: {tokenizer.path} is neither a file nor a folder here, and not in the "
                f"hub's cache. Download it first: hf download {tokenizer.path} tokenizer.json"
            )
        return read_vocabulary_size(file)
    return tokenizer.vocab_size


def find_tokenizer_file(path: str) -> Path | None:
    """The `tokenizer.json` that `path` names: itself, in a folder, or in the hub's cache on this machine.

    Raises PlanError for a folder without one; None where nothing is found.
    """
    local = Path(path).expanduser()
    file = local / "tokenizer.json" if local.is_dir() else local
    if file.is_file():
        return file
    if local.is_dir():
        raise PlanError(f"data.tokenizer.path: {path} is a folder without a tokenizer.json.")
    return _cached_hub_file(path)


def read_vocabulary_size(file: Path) -> int:
    """One more than the largest token id of a `tokenizer.json`: the rows an embedding must have."""
    try:
        tokenizer = json.loads(file.read_bytes())
        ids: list[int] = [
            *_model_ids(tokenizer["model"]),
            *(token["id"] for token in tokenizer["added_tokens"]),
        ]
        size = max(ids) + 1
        if not isinstance(size, int) or not 0 < size <= LARGEST:
            raise ValueError("no sizes of a vocabulary")
        return size
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PlanError(
            f"data.tokenizer.path: {file} is not a tokenizer.json of the tokenizers library."
        ) from error


def _model_ids(model: dict[str, Any]) -> list[int]:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):  # unigram: pieces with their scores, in the order of their ids
        return [len(vocabulary) - 1]
    return list(vocabulary.values())


def _cached_hub_file(name: str) -> Path | None:
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "tokenizer.json")
    return Path(found) if isinstance(found, str) else None
