"""Tokenizers lose nothing they should keep, are the same each time, and stream what they decode."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.data.conftest import make_texts
from toolkit.data.errors import DataError
from toolkit.data.pretrained import pretrained
from toolkit.data.split import digest
from toolkit.data.tokenise import encode, split_segments
from toolkit.data.tokenizer import TextTokenizer
from toolkit.data.training import sample, train
from toolkit.spec.data import Tokenizer

KINDS = ("bpe", "unigram", "wordpiece", "bytes", "characters")
TRAINING = [*make_texts(200), "x = 1\n\n\n    return\n" * 20, "café <unk> <0x41> [SEP]"]
# Any text that UTF-8 can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(
    st.sampled_from([*"ab\n\t  é▁🎉", "<|endoftext|>", "<unk>", "<0x41>", "[SEP]"]), max_size=30
).map("".join)


@cache
def trained(kind: str, vocab_size: int = 600) -> TextTokenizer:
    fields: dict[str, Any] = {"kind": kind} if kind == "bytes" else {"kind": kind, "vocab_size": vocab_size}
    return train(TypeAdapter(Tokenizer).validate_python(fields), TRAINING)


@settings(max_examples=150, deadline=None)
@given(TEXT)
@pytest.mark.parametrize("kind", ["bpe", "bytes", "unigram"])
def test_text_comes_back_as_it_was(kind: str, text: str) -> None:
    tokenizer = trained(kind)
    if kind == "unigram":
        text = text.replace("▁", "")  # its sign for a space
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_of_text_id not in ids


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same(kind: str) -> None:
    again = train(
        TypeAdapter(Tokenizer).validate_python(
            {"kind": kind} | ({} if kind == "bytes" else {"vocab_size": 600})
        ),
        TRAINING,
    )
    assert again.json == trained(kind).json


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_is_within_what_was_asked(kind: str) -> None:
    tokenizer = trained(kind)
    assert tokenizer.vocab_size <= 600
    assert tokenizer.end_of_text_id == (3 if kind == "wordpiece" else 0)
    assert tokenizer.dtype == (np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)
    ids = np.concatenate(tokenizer.encode_batch(TRAINING))
    assert ids.max() < tokenizer.vocab_size


def test_bytes_are_bytes() -> None:
    text = "naïve 🎉\0\n"
    assert [i - 1 for i in trained("bytes").encode(text)] == list(text.encode())


def test_wordpiece_is_berts() -> None:
    tokenizer = trained("wordpiece")
    assert tokenizer.decode(tokenizer.encode("The Model(  RETURN")) == "the model ( return"
    vocabulary = json.loads(tokenizer.json)["model"]["vocab"]
    assert list(vocabulary)[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.encode("zebra") != []


def test_the_rarest_characters_are_unknown() -> None:
    tokenizer = train(
        TypeAdapter(Tokenizer).validate_python({"kind": "characters", "vocab_size": 5}),
        ["aaabbc", "aab\n\n\n"],
    )
    assert tokenizer.encode("a\nbc") == [2, 3, 4, 1]


@settings(max_examples=100, deadline=None)
@given(text=TEXT, noise=st.lists(st.integers(0, 599), max_size=20))
@pytest.mark.parametrize("kind", KINDS)
def test_streaming_writes_what_decoding_writes(kind: str, text: str, noise: list[int]) -> None:
    tokenizer = trained(kind)
    ids = tokenizer.encode(text)
    if kind != "unigram":  # its decoder takes back what it wrote of a run of bytes once one of them is wrong
        ids += [i % tokenizer.vocab_size for i in noise]
    decoder = tokenizer.decoder()
    assert "".join(decoder.push(i) for i in ids) + decoder.flush() == tokenizer.decode(ids)


def test_streaming_never_writes_half_a_character() -> None:
    tokenizer = trained("bytes")
    decoder = tokenizer.decoder()
    assert [decoder.push(i) for i in tokenizer.encode("é🎉")] == ["", "é", "", "", "", "🎉"]


def test_long_texts_are_cut_where_the_tokenizer_would(real: Callable[[str], Path]) -> None:
    text = real("tinyshakespeare.txt").read_text()[:200_000]
    segments = list(split_segments(text, 1000))
    assert "".join(segments) == text
    assert len(segments) > 190
    tokenizer = trained("bpe")
    assert np.array_equal(encode([text], tokenizer)[0], np.concatenate(tokenizer.encode_batch(segments)))


@given(st.text(st.sampled_from("ab \n"), max_size=200), st.integers(1, 20))
def test_segments_make_up_the_text(text: str, longest: int) -> None:
    segments = list(split_segments(text, longest))
    assert "".join(segments) == text
    assert all(0 < len(segment) <= longest for segment in segments) or not text


def test_the_sample_is_the_same_in_any_order() -> None:
    items = [(digest(text.encode()), text) for text in make_texts(500)]
    chosen = sample(items, 5000)
    assert chosen == sample(reversed(items), 5000)
    assert 4000 < sum(map(len, chosen)) <= 5000


def test_reads_a_hugging_face_folder(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(trained("bpe").json)
    assert pretrained(str(tmp_path)).encode("return 1") == trained("bpe").encode("return 1")
    backend = json.loads(trained("bpe").json)
    name = "Ġreturn"
    assert name in backend["model"]["vocab"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": name}}))
    assert pretrained(str(tmp_path / "tokenizer.json")).end_of_text_id == backend["model"]["vocab"][name]


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DataError, match="no such tokenizer"):
        pretrained(str(path))
    path.write_text("{}")
    with pytest.raises(DataError, match=r"not a tokenizer\.json") as caught:
        pretrained(str(path))
    assert caught.value.file == str(path)
    state = json.loads(trained("bpe").json)
    state["added_tokens"] = []
    state["model"]["vocab"]["nothing"] = state["model"]["vocab"].pop("<|endoftext|>")
    path.write_text(json.dumps(state))
    with pytest.raises(DataError, match="no token ends a text"):
        pretrained(str(path))
