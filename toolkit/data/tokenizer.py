"""Tokenizers: text to ids and back, kept as a `tokenizer.json` that other software reads."""

import copy
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from toolkit.data.errors import DataError
from toolkit.data.frame import Frame, template_frame
from toolkit.plan.fingerprint import fingerprint

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
"""Names the tokens that begin and end a text, where the file alone doesn't tell."""
CHAT_TEMPLATE = "chat_template.jinja"
END_OF_TEXT = "<|endoftext|>"
MASK = "[MASK]"
# What tokenizers of known families call the end of a text, tried in this order.
_ENDS = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]", "<|im_end|>", "<|eot_id|>")
_MASKS = (MASK, "<mask>", "<|mask|>")
LARGEST_FILE = 256 << 20
_TEMPLATE = "tk_template"
"""In the kept `tokenizer_config.json`: texts are framed as the tokenizer's own template has it."""
_INPUTS, _SEGMENTS = "model_input_names", "token_type_ids"
LARGEST_VOCABULARY = 1 << 24
_UNUSUAL = "a \x07 \u0416 \U000f1234"
# Private characters that stand for a special token's name in the words of a conversation.
_STAND_INS = 0xF0000


class TextTokenizer:
    """A tokenizer of the `tokenizers` library and the id that begins and ends a document.

    Attributes:
        vocab_size: One more than the largest id.
        end_of_text_id: Stands before the first and after the last token of a document.
        end_of_text: Its name.
        mask_id: Stands for a hidden token; None where the tokenizer has no such token.
        special_ids: Of tokens that are no text.
        begin_of_text_id: Stands before a text for a model that was trained so elsewhere; else the end's id.
        json: The bytes of its `tokenizer.json`.
        framed: Whether texts stand in the frame that the file itself describes, as those of an imported encoder do.
        has_segments: Whether the model tells the texts of a pair apart.
        chat_template: Writes conversations as text, where the model came with one (Jinja).
    """

    def __init__(self, json: bytes, end_of_text: str | None = None, begin_of_text: str | None = None) -> None:
        """Raises ValueError if this is no tokenizer, or none of its tokens ends a text."""
        self.json = json
        self.chat_template: str | None = None
        self.framed = self.has_segments = False
        try:
            self._backend = Backend.from_str(json.decode("utf-8"))
        except Exception as error:
            raise ValueError(f"not a tokenizer.json: {error}") from error
        # A document that happens to contain "<|endoftext|>" holds those characters, not the end of a text.
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.no_truncation()
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        known = [vocabulary[end] for end in _ENDS if end in vocabulary]
        named = (
            known if end_of_text is None else [vocabulary[end_of_text]] if end_of_text in vocabulary else []
        )
        if not named:
            ends = _ENDS if end_of_text is None else (end_of_text,)
            raise ValueError(f"no token ends a text; one of these was expected: {', '.join(ends)}")
        self.end_of_text_id: int = named[0]
        self.end_of_text = str(self._backend.id_to_token(named[0]))
        self.begin_of_text_id: int = vocabulary.get(begin_of_text or "", self.end_of_text_id)
        self._ends_as_known = named[0] in known[:1]
        self.vocab_size: int = max(vocabulary.values()) + 1
        if self.vocab_size > LARGEST_VOCABULARY:
            raise ValueError(f"its ids go up to {self.vocab_size - 1:,}, beyond {LARGEST_VOCABULARY:,}")
        _encoded(self._backend, _UNUSUAL)
        self.mask_id: int | None = next((vocabulary[mask] for mask in _MASKS if mask in vocabulary), None)
        added = self._backend.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special}
        self.special_ids: tuple[int, ...] = tuple(sorted(special | {self.end_of_text_id}))

    @classmethod
    def of_encoder(cls, json: bytes, *, segments: bool) -> "TextTokenizer":
        """The tokenizer of an encoder that was trained elsewhere: what its template writes around a text is what the
        model reads there. `segments` says whether the model tells two texts apart.

        Raises ValueError as the constructor does, and for a template that can't be followed.
        """
        try:
            backend = Backend.from_str(json.decode("utf-8"))
            backend.no_padding()
            backend.no_truncation()
        except Exception as error:
            raise ValueError(f"not a tokenizer.json: {error}") from error
        frame = template_frame(backend)
        names = [str(backend.id_to_token(side[0])) for side in (frame.between, frame.before)]
        tokenizer = cls(json, *names)
        tokenizer.framed, tokenizer.has_segments = True, segments and frame.has_segments
        return tokenizer

    @classmethod
    def read(cls, path: Path) -> "TextTokenizer":
        """Reads a `tokenizer.json`, or a folder that holds one; the end of a text is the one that the
        `tokenizer_config.json` beside it names, else a well-known one.

        Raises:
            DataError: The file is missing, too large, not a tokenizer, or has no end of a text.
        """
        file = path / FILE if path.is_dir() else path
        try:
            if file.stat().st_size > LARGEST_FILE:
                raise DataError(file, f"larger than {LARGEST_FILE >> 20} MB: not a tokenizer.json")
            return cls(file.read_bytes(), named_token(file.with_name(CONFIG), "eos_token"))
        except OSError as error:
            raise DataError(file, f"can't be read: {error.strerror}") from error
        except ValueError as error:
            raise DataError(file, str(error)) from error

    @classmethod
    def read_kept(cls, folder: Path) -> "TextTokenizer":
        """The tokenizer that a checkpoint keeps: `files`, read back. Raises DataError."""
        tokenizer, template = cls.read(folder), folder / CHAT_TEMPLATE
        begin = named_token(folder / CONFIG, "bos_token") or ""
        tokenizer.begin_of_text_id = tokenizer.id_of(begin, tokenizer.end_of_text_id)
        config = _read_config(folder / CONFIG)
        tokenizer.framed = config.get(_TEMPLATE) is True
        tokenizer.has_segments = _SEGMENTS in (config.get(_INPUTS) or ())
        try:
            tokenizer.chat_template = template.read_text(encoding="utf-8") if template.is_file() else None
        except ValueError as error:
            raise DataError(template, f"is not text in UTF-8: {error}") from error
        return tokenizer

    @property
    def files(self) -> dict[str, bytes]:
        """What a checkpoint keeps, by name: the roles of tokens only where the vocabulary alone doesn't tell."""
        files = {FILE: self.json}
        roles: dict[str, object] = {"eos_token": self.token(self.end_of_text_id)}
        if self.begin_of_text_id != self.end_of_text_id:
            roles["bos_token"] = self.token(self.begin_of_text_id)
        if self.framed:
            roles[_TEMPLATE] = True
            roles[_INPUTS] = ["input_ids", *([_SEGMENTS] if self.has_segments else []), "attention_mask"]
        if len(roles) > 1 or not self._ends_as_known:
            files[CONFIG] = json.dumps(roles, indent=1).encode()
        if self.chat_template is not None:
            files[CHAT_TEMPLATE] = self.chat_template.encode()
        return files

    @property
    def frame(self) -> Frame:
        """What stands around a text. Raises ValueError for a template that can't be followed."""
        if self.framed:
            return self._own_frame._replace(has_segments=self.has_segments)
        return Frame((self.begin_of_text_id,), (self.end_of_text_id,))

    @cached_property
    def _own_frame(self) -> Frame:
        return template_frame(self._markup)

    def id_of(self, token: str, default: int) -> int:
        """The id of a token, or `default` where the vocabulary doesn't have it."""
        found: int | None = self._backend.token_to_id(token)
        return default if found is None else found

    def token(self, token_id: int) -> str:
        """A token as the vocabulary spells it."""
        return str(self._backend.id_to_token(token_id))

    @cached_property
    def fingerprint(self) -> str:
        """Of what it does, not of how its file is laid out."""
        does: dict[str, object] = {"tokenizer": json.loads(self.json), "end_of_text": self.end_of_text_id}
        if self.begin_of_text_id != self.end_of_text_id:
            does["begin_of_text"] = self.begin_of_text_id
        if self.framed:
            does["frame"] = [self.frame.before, self.frame.between, self.frame.after, self.has_segments]
        return fingerprint(does)

    def with_chat_template(self, template: str) -> "TextTokenizer":
        """The same tokenizer with another chat template."""
        same = copy.copy(self)
        same.chat_template = template
        return same

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every id."""
        return np.dtype(np.min_scalar_type(self.vocab_size - 1))

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.unsignedinteger]]:
        """The ids of each text, without the ids that stand around it. Uses every core; frees the GIL."""
        encodings: list[Encoding] = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, self.dtype) for encoding in encodings]

    def encode(self, text: str) -> list[int]:
        """The ids of one text, as for a prompt. Raises ValueError, as do its kin, for half of a character."""
        ids: list[int] = _encoded(self._backend, text).ids
        return ids

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the tokens that mark ends, turns and the like, by name."""
        added = self._backend.get_added_tokens_decoder()
        special = {token.content: i for i, token in added.items() if token.special}
        return {self.end_of_text: self.end_of_text_id} | special

    @cached_property
    def _markup(self) -> Backend:
        backend = Backend.from_str(self.json.decode("utf-8"))
        backend.no_padding()
        backend.no_truncation()
        return backend

    def guard(self, text: str) -> str:
        """Words for a template: a special token's name in them becomes a character that `encode_markup` reads as the
        name's letters, so that nobody can write a turn into a message.
        """
        for number, name in enumerate(self.special_tokens):
            text = text.replace(name, chr(_STAND_INS + number))
        return text

    def encode_markup(self, text: str) -> list[int]:
        """The ids of a text in which the name of a special token is that token."""
        names = list(self.special_tokens)
        last = chr(_STAND_INS + len(names) - 1)
        ids: list[int] = []
        for part in re.split(f"([{chr(_STAND_INS)}-{last}])", text):
            if len(part) == 1 and chr(_STAND_INS) <= part <= last:
                ids += self.encode(names[ord(part) - _STAND_INS])
            elif part:
                ids += _encoded(self._markup, part).ids
        return ids

    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of a text, and the characters that each stands for, as (start, end)."""
        encoding = _encoded(self._backend, text)
        return encoding.ids, encoding.offsets

    def encode_words(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """The ids of words with spaces between them, and for each id the number of its word; -1 for mere space."""
        text = " ".join(words)
        ids, offsets = self.encode_offsets(text)
        ends = np.cumsum([len(word) + 1 for word in words])
        # By its last character: a piece begins with the space before its word.
        numbers = np.searchsorted(ends, [end - 1 for _, end in offsets], side="right").tolist()
        space = [text[start:end].isspace() for start, end in offsets]
        return ids, [-1 if blank else number for number, blank in zip(numbers, space, strict=True)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; ids that mark ends and the like write nothing."""
        text: str = self._backend.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def spelled(self, token_id: int) -> str:
        """One token as text, the space that belongs to it included; as the vocabulary has it where it is none."""
        piece = str(self._backend.id_to_token(token_id))
        if self._kind == "BPE":
            return self.decode([token_id]) or piece
        return piece.replace("▁", " ")

    @property
    def keeps_spaces(self) -> bool:
        """Whether a space is a part of the token behind it."""
        return self._kind in ("BPE", "Unigram") and len(self.encode("a b")) < 3

    @cached_property
    def _kind(self) -> str:
        return type(self._backend.model).__name__

    @cached_property
    def word_edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each token may go on a word that began before it, and whether a word may go on after it.

        Both (vocab_size,). Two neighbours are of one word where the first may and the second does.
        """
        heads, tails = np.zeros(self.vocab_size, bool), np.zeros(self.vocab_size, bool)
        kind = self._kind
        for name, i in self._backend.get_vocab(with_added_tokens=False).items():
            if kind == "WordPiece":
                heads[i], tails[i] = name.startswith("##"), True
                continue
            text = self.decode([i]) if kind == "BPE" else name
            if text and i not in self.special_ids:
                heads[i], tails[i] = _in_word(text[0]), _in_word(text[-1])
        return heads, tails

    def decoder(self) -> "Decoder":
        """For writing text as its ids arrive."""
        return Decoder(self)


class Decoder:
    """Turns a stream of ids into a stream of text. A character is held back until its bytes are complete."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._written: list[int] = []
        self._held: list[int] = []

    def push(self, token_id: int) -> str:
        """The text that this id completes, possibly none."""
        self._held.append(token_id)
        text = self._pending()
        if not text or text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._written, self._held = self._held, []
        return text

    def flush(self) -> str:
        """What is held back, at the end of the stream."""
        text = self._pending()
        self._written, self._held = [], []
        return text

    def _pending(self) -> str:
        # Decoded behind what was written last, for decoders that treat the first token apart.
        before = self._tokenizer.decode(self._written)
        return self._tokenizer.decode(self._written + self._held)[len(before) :]


def _in_word(character: str) -> bool:
    # The replacement character stands for a part of a character.
    return character.isalnum() or character in "_\N{REPLACEMENT CHARACTER}"


def named_token(path: Path, role: str) -> str | None:
    """The token that a `tokenizer_config.json` names for a role such as `eos_token`; None where it names none."""
    named = _read_config(path).get(role)
    content = named.get("content") if isinstance(named, dict) else named
    return content if isinstance(content, str) else None


def _encoded(backend: Backend, text: str) -> Encoding:
    """The text alone. Raises ValueError where JSON's escapes left half of a character in it, and for a tokenizer that
    has no token for some text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise ValueError(f"the text has half of a character ({half}) at place {error.start + 1}") from None
    try:
        return backend.encode(text, add_special_tokens=False)
    except Exception as error:  # the library raises no narrower one
        raise ValueError(f"the tokenizer can't read every text: {error}") from error


def _read_config(path: Path) -> dict[str, Any]:
    """A `tokenizer_config.json`; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
