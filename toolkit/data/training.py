"""Trains the tokenizer that `data.tokenizer` asks for, on a bounded sample of the documents."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from toolkit.data.tokenizer import END_OF_TEXT, TextTokenizer
from toolkit.spec.data import (
    BPETokenizer,
    BytesTokenizer,
    CharactersTokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
)

Trainable = BPETokenizer | UnigramTokenizer | WordPieceTokenizer | BytesTokenizer | CharactersTokenizer

_BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_UNKNOWN = "<unk>"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(spec: Trainable, texts: Iterable[str]) -> TextTokenizer:
    """The tokenizer of `spec` for these texts; equal texts give an equal tokenizer.

    A small sample may not fill `vocab_size`. Raises ValueError when there is no text to train on.
    """
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
    total = 0
    for digest, text in documents:
        part = text[: max(size // 4, 1)]
        heapq.heappush(kept, (bytes(255 - byte for byte in digest), part))
        total += len(part)
        while total > size and len(kept) > 1:
            total -= len(heapq.heappop(kept)[1])
    return [text for _, text in sorted(kept, reverse=True)]


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
    pieces: list[list[Any]] = state["model"]["vocab"]
    lowest = min((score for _, score in pieces[2:]), default=0.0)
    state["model"]["vocab"] = pieces[:2] + [[byte, lowest - 10.0] for byte in _BYTES] + pieces[2:]
    state["model"]["byte_fallback"] = True
    backend = Backend.from_str(json.dumps(state))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


def _wordpiece(spec: WordPieceTokenizer, texts: Iterable[str]) -> Backend:
    """WordPiece with BERT's normalisation and tokens (Devlin et al. 2018); `[SEP]` ends a text."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=spec.lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=spec.vocab_size, special_tokens=_BERT_TOKENS, show_progress=False
        ),
    )
    return backend


def _characters(spec: CharactersTokenizer, texts: Iterable[str]) -> Backend:
    """One token a character, the most frequent ones; ties go to the lower code point."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    names = [END_OF_TEXT, _UNKNOWN, *ranked[: spec.vocab_size - 2]]
    backend = Backend(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=_UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(?s)."), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True), AddedToken(_UNKNOWN, special=True)])
    return backend
