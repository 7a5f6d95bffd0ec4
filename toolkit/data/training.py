"""Trains the tokenizer that `data.tokenizer` asks for, on a bounded sample of the documents."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from toolkit.data.tokenizer import END_OF_TEXT, MASK, TextTokenizer
from toolkit.spec.data import (
    BPETokenizer,
    BytesTokenizer,
    CharactersTokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
)

SAMPLE = {"bpe": 32 << 20, "unigram": 4 << 20, "wordpiece": 16 << 20, "characters": 32 << 20}
"""Characters that a tokenizer of each kind is trained on: some ten seconds of work, at most."""

Trainable = BPETokenizer | UnigramTokenizer | WordPieceTokenizer | BytesTokenizer | CharactersTokenizer

_BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", MASK]
_UNKNOWN = "<unk>"
_NEVER = -1e6
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(spec: Trainable, texts: Iterable[str]) -> TextTokenizer:
    """The tokenizer of `spec` for these texts; equal texts give an equal tokenizer.

    A small sample may not fill `vocab_size`.
    """
    if not isinstance(spec, WordPieceTokenizer) and spec.mask_token:
        return _with_mask(spec, texts)
    if isinstance(spec, BytesTokenizer):
        return _finish(_bytes())
    if isinstance(spec, BPETokenizer):
        return _finish(_bpe(spec, texts))
    if isinstance(spec, UnigramTokenizer):
        return _finish(_unigram(spec, texts))
    if isinstance(spec, WordPieceTokenizer):
        return _finish(_wordpiece(spec, texts), end_of_text="[SEP]")
    return _finish(_characters(spec, texts))


def sample(documents: Iterable[tuple[bytes, str]], size: int) -> list[str]:
    """The texts with the smallest hashes, `size` characters of them: a fair sample whatever the order.

    Args:
        documents: (hash, text) of each. Of one text at most a quarter of `size` is taken.
    """
    kept: list[tuple[bytes, str]] = []  # a heap with the largest hash at its head
    total, floor = 0, b""
    for digest, text in documents:
        inverted = bytes(255 - byte for byte in digest)
        if inverted <= floor:
            continue  # those before it in the order of hashes fill the sample already
        part = text[: max(size // 4, 1)]
        heapq.heappush(kept, (inverted, part))
        total += len(part)
        while total > size:
            floor, dropped = heapq.heappop(kept)
            total -= len(dropped)
    return [text for _, text in sorted(kept, reverse=True)]


def _with_mask(
    spec: BPETokenizer | UnigramTokenizer | BytesTokenizer | CharactersTokenizer, texts: Iterable[str]
) -> TextTokenizer:
    """The tokenizer without a mask token, one entry smaller, and the mask token behind its last."""
    smaller: dict[str, Any] = {"mask_token": False}
    if not isinstance(spec, BytesTokenizer):
        smaller["vocab_size"] = spec.vocab_size - 1
    backend = Backend.from_str(train(spec.model_copy(update=smaller), texts).json.decode())
    backend.add_special_tokens([AddedToken(MASK, special=True)])
    return _finish(backend)


def _finish(backend: Backend, end_of_text: str = END_OF_TEXT) -> TextTokenizer:
    return TextTokenizer(backend.to_str().encode(), end_of_text)


def _bpe(spec: BPETokenizer, texts: Iterable[str]) -> Backend:
    """Byte-level BPE with GPT-2's split (Radford et al. 2019)."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=spec.vocab_size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return backend


def _bytes() -> Backend:
    """Byte-level BPE with no merges: id 1 + b for byte b."""
    letters = _byte_letters()
    vocabulary = {END_OF_TEXT: 0} | {letters[byte]: byte + 1 for byte in range(256)}
    backend = Backend(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True)])
    return backend


def _byte_letters() -> list[str]:
    """The letter that the byte-level alphabet gives each byte: printable Latin-1 stands for itself."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _unigram(spec: UnigramTokenizer, texts: Iterable[str]) -> Backend:
    """A unigram language model (Kudo 2018); what it can't spell is written in bytes."""
    backend = Backend(models.Unigram())
    # Lines apart, spaces kept: nothing is added or lost, so that decoding gives the text back.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never"),
        ]
    )
    backend.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=spec.vocab_size - len(_BYTES),
            special_tokens=[END_OF_TEXT, _UNKNOWN],
            unk_token=_UNKNOWN,
            show_progress=False,
        ),
    )
    state: dict[str, Any] = json.loads(backend.to_str())
    pieces = _settled([(piece, score) for piece, score in state["model"]["vocab"][2:]])
    # Text that spells one of these names is not to become it.
    named = [(name, _NEVER) for name in (END_OF_TEXT, _UNKNOWN, *_BYTES)]
    state["model"]["vocab"] = named + pieces
    state["model"]["byte_fallback"] = True
    backend = Backend.from_str(json.dumps(state))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


def _settled(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Pieces without what differs from one training to the next: the order of sums and of hash tables."""
    lowest = min((score for _, score in pieces), default=0.0)
    # The trainer adds rare characters last, 0.0001 apart in no order.
    late = lowest + 1e-4 * sum(len(piece) == 1 for piece, _ in pieces)
    scores = {
        piece: round(lowest if len(piece) == 1 and score < late else score, 6) for piece, score in pieces
    }
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _wordpiece(spec: WordPieceTokenizer, texts: Iterable[str]) -> Backend:
    """WordPiece with BERT's normalisation and tokens (Devlin et al. 2018); `[SEP]` ends a text.

    Its pieces are those that BPE cuts the words into, the most frequent ones: the library's own trainer for
    WordPiece gives another vocabulary each time.
    """
    texts = list(texts)
    room = spec.vocab_size - len(_BERT_TOKENS)
    pairs = Backend(models.BPE())
    pairs.normalizer = normalizers.BertNormalizer(lowercase=spec.lowercase)
    pairs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = Counter(chain.from_iterable(pairs.normalizer.normalize_str(text) for text in texts))
    # Each character may need two pieces, one at the head of a word and one within: they get half the room.
    alphabet = _most_frequent(letters)[: room // 4]
    pairs.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=spec.vocab_size,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        ),
    )
    counts = np.zeros((pairs.get_vocab_size(), 2), np.int64)
    for text in texts:
        encoding = pairs.encode(text)
        words = np.array(encoding.word_ids)
        within = np.append(False, words[1:] == words[:-1])[: len(words)]
        np.add.at(counts, (np.array(encoding.ids, np.int64), within.astype(np.int64)), 1)
    ids = pairs.get_vocab()
    names = sorted(ids, key=lambda name: ids[name])
    found = {
        prefix + name: int(count)
        for name, both in zip(names, counts, strict=True)
        for prefix, count in zip(("", "##"), both, strict=True)
        if count
    }
    single = {prefix + name for name in names if len(name) == 1 for prefix in ("", "##")}
    ranked = sorted(found, key=lambda piece: (piece not in single, -found[piece], piece))
    vocabulary = {piece: i for i, piece in enumerate([*_BERT_TOKENS, *ranked[:room]])}
    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = pairs.normalizer
    backend.pre_tokenizer = pairs.pre_tokenizer
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.add_special_tokens([AddedToken(name, special=True) for name in _BERT_TOKENS])
    return backend


def _characters(spec: CharactersTokenizer, texts: Iterable[str]) -> Backend:
    """One token a character, the most frequent ones."""
    ranked = _most_frequent(Counter(chain.from_iterable(texts)))
    names = [END_OF_TEXT, _UNKNOWN, *ranked[: spec.vocab_size - 2]]
    backend = Backend(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=_UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True), AddedToken(_UNKNOWN, special=True)])
    return backend


def _most_frequent(counts: Counter[str]) -> list[str]:
    """The most frequent first; ties go to the lower code point."""
    return sorted(counts, key=lambda name: (-counts[name], name))
