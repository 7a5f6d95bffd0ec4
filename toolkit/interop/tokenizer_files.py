"""A tokenizer as `AutoTokenizer` opens it, putting before a text what the model was trained to see there."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from toolkit.spec.model import Architecture, GPTArchitecture

MASK = "[MASK]"


class TokenizerFiles(NamedTuple):
    """What stands in a folder, and the ids that the model's configuration repeats."""

    files: dict[str, Any]
    ids: dict[str, int]


def tokenizer_files(
    arch: Architecture,
    tokenizer: bytes,
    *,
    end_of_text: str,
    begin_of_text: str | None = None,
    chat_template: str | None = None,
    pairs: bool = False,
) -> TokenizerFiles:
    """The files of a `tokenizer.json`.

    Args:
        begin_of_text: Stands before a text; `end_of_text` by default, as documents are trained that way.
        pairs: Whether two texts matter too: the end of the first stands between them.
    """
    contents = json.loads(tokenizer)
    begin_of_text = begin_of_text or end_of_text
    end, begin = _token_id(contents, end_of_text), _token_id(contents, begin_of_text)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": arch.max_sequence_length,
        "clean_up_tokenization_spaces": False,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    if end is None or begin is None:
        return TokenizerFiles({"tokenizer.json": contents, "tokenizer_config.json": config}, {})
    config |= {"bos_token": begin_of_text, "eos_token": end_of_text, "pad_token": end_of_text}
    # The last token that isn't padding is what a classifier stands on.
    config["padding_side"] = "right"
    if not isinstance(arch, GPTArchitecture):
        config |= dict.fromkeys(("cls_token", "sep_token"), end_of_text) | {"mask_token": MASK}
    encoder = not isinstance(arch, GPTArchitecture)
    around = (begin_of_text, begin), (end_of_text, end)
    contents = _written(contents, *around, pairs=pairs, ending=encoder)
    ids = {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": end}
    return TokenizerFiles({"tokenizer.json": contents, "tokenizer_config.json": config}, ids)


def _token_id(tokenizer: Mapping[str, Any], token: str) -> int | None:
    for added in tokenizer.get("added_tokens", []):
        if added["content"] == token:
            return int(added["id"])
    return None


Token = tuple[str, int]


def _written(
    tokenizer: dict[str, Any], begin: Token, end: Token, *, pairs: bool, ending: bool
) -> dict[str, Any]:
    """The tokenizer, told to write `begin A`, and `begin A end B`, where it doesn't do so by itself; with an `end`
    behind the last text as well for what reads both ways (`ending`).
    """
    built = Tokenizer.from_str(json.dumps(tokenizer))
    built.no_padding()
    built.no_truncation()
    plain = built.encode("a", add_special_tokens=False).ids
    last = [end[1]] if ending else []
    right = built.encode("a").ids == [begin[1], *plain, *last]
    if pairs:
        right = right and built.encode("a", "a").ids == [begin[1], *plain, end[1], *plain, *last]
    if right:
        return tokenizer
    first, second = ({"Sequence": {"id": which, "type_id": 0}} for which in "AB")
    opening, between = ({"SpecialToken": {"id": token, "type_id": 0}} for token, _ in (begin, end))
    closing = [between] if ending else []
    template = {
        "type": "TemplateProcessing",
        "single": [opening, first, *closing],
        "pair": [opening, first, between, second, *closing],
        "special_tokens": {
            token: {"id": token, "ids": [number], "tokens": [token]} for token, number in (begin, end)
        },
    }
    present = tokenizer.get("post_processor") or {}
    steps = present.get("processors", [present]) if present else []
    kept = [step for step in steps if step["type"] == "ByteLevel"]  # offsets; the others write special tokens
    return {**tokenizer, "post_processor": {"type": "Sequence", "processors": [*kept, template]}}
