"""A tokenizer as `AutoTokenizer` opens it, putting around a text what the model was trained to see there."""

import json
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from toolkit.data.frame import Frame
from toolkit.data.tokenizer import TextTokenizer
from toolkit.spec.model import Architecture, GPTArchitecture

MASK, PAD = "[MASK]", ("[PAD]", "<pad>")
_UNKNOWN = ("[UNK]", "<unk>")


class TokenizerFiles(NamedTuple):
    """What stands in a folder, and the ids that the model's configuration repeats."""

    files: dict[str, Any]
    ids: dict[str, int]


def tokenizer_files(
    arch: Architecture, tokenizer: TextTokenizer, *, supervised: bool = False
) -> TokenizerFiles:
    """The files of a tokenizer.

    A GPT's text begins with the token that documents begin with. An encoder's ends with one too, as documents do,
    unless it was fine-tuned (`supervised`) on rows that don't; two texts matter to a supervised model alone.
    """
    contents = json.loads(tokenizer.json)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": arch.max_sequence_length,
        "clean_up_tokenization_spaces": False,
    }
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    added = {token["content"] for token in contents.get("added_tokens", [])}
    begin, end = (tokenizer.token(i) for i in (tokenizer.begin_of_text_id, tokenizer.end_of_text_id))
    if not {begin, end} <= added:
        return TokenizerFiles({"tokenizer.json": contents, "tokenizer_config.json": config}, {})
    pad = next((token for token in PAD if tokenizer.framed and token in added), end)
    roles = {"bos": begin, "eos": end, "pad": pad}
    # The last token that isn't padding is what a GPT's classifier stands on.
    config["padding_side"] = "right"
    frame = tokenizer.frame
    if not isinstance(arch, GPTArchitecture):
        roles |= {"cls": begin, "sep": end}
        config["mask_token"] = MASK if tokenizer.mask_id is None else tokenizer.token(tokenizer.mask_id)
        segments = ["token_type_ids"] if tokenizer.has_segments else []
        config["model_input_names"] = ["input_ids", *segments, "attention_mask"]
        if tokenizer.framed:
            for role in ("bos", "eos"):
                del roles[role]
            config["unk_token"] = next((token for token in _UNKNOWN if token in added), end)
        if not supervised:
            frame = frame._replace(after=frame.after or frame.between)
    config |= {f"{role}_token": token for role, token in roles.items()}
    if not tokenizer.framed:
        contents = _written(tokenizer, contents, frame, pairs=supervised)
    ids = {f"{role}_token_id": tokenizer.id_of(token, 0) for role, token in roles.items()}
    if not tokenizer.framed:
        ids = {name: number for name, number in ids.items() if name[:3] not in ("cls", "sep")}
    return TokenizerFiles({"tokenizer.json": contents, "tokenizer_config.json": config}, ids)


def _written(
    tokenizer: TextTokenizer, contents: dict[str, Any], frame: Frame, *, pairs: bool
) -> dict[str, Any]:
    """The tokenizer, told to write the frame around a text, and around two, where it doesn't do so by itself."""
    built = Tokenizer.from_str(json.dumps(contents))
    built.no_padding()
    built.no_truncation()
    plain = built.encode("a", add_special_tokens=False).ids
    right = built.encode("a").ids == frame.around([plain])
    if pairs:
        right = right and built.encode("a", "a").ids == frame.around([plain, plain])
    if right:
        return contents
    first, second = ({"Sequence": {"id": which, "type_id": 0}} for which in "AB")
    before, between, after = (
        [{"SpecialToken": {"id": tokenizer.token(i), "type_id": 0}} for i in side] for side in frame[:3]
    )
    template = {
        "type": "TemplateProcessing",
        "single": [*before, first, *after],
        "pair": [*before, first, *between, second, *after],
        "special_tokens": {
            tokenizer.token(i): {"id": tokenizer.token(i), "ids": [i], "tokens": [tokenizer.token(i)]}
            for side in frame[:3]
            for i in side
        },
    }
    present = contents.get("post_processor") or {}
    steps = present.get("processors", [present]) if present else []
    kept = [step for step in steps if step["type"] == "ByteLevel"]  # offsets; the others write special tokens
    return {**contents, "post_processor": {"type": "Sequence", "processors": [*kept, template]}}
