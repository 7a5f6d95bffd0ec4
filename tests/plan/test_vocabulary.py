"""The vocabulary's size is read from the files that the tokenizers library writes."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from toolkit.plan.errors import PlanError
from toolkit.plan.vocabulary import read_vocabulary_size, vocabulary_size
from toolkit.spec.data import BytesTokenizer, PretrainedTokenizer

TEXT = ["def add(a, b):\n    return a + b\n", "class Point:\n    x: int\n"] * 20


def trained(kind):
    special = ["<|endoftext|>"]
    match kind:
        case "bpe":
            tokenizer, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(special_tokens=special)
            tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        case "unigram":
            tokenizer, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(special_tokens=special)
        case _:
            tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
            trainer = trainers.WordPieceTrainer(special_tokens=[*special, "[UNK]"])
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens(["<|user|>", "<|assistant|>"])
    return tokenizer


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_equal_to_what_the_library_says(tmp_path, kind):
    tokenizer = trained(kind)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    assert read_vocabulary_size(tmp_path / "tokenizer.json") == size
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert vocabulary_size(PretrainedTokenizer(kind="pretrained", path=str(path))) == size


def test_a_gap_in_the_ids_needs_rows_too(tmp_path):
    file = tmp_path / "tokenizer.json"
    trained("bpe").save(str(file))
    content = json.loads(file.read_text())
    content["added_tokens"][-1]["id"] = 5000
    file.write_text(json.dumps(content))
    assert read_vocabulary_size(file) == 5001


def test_the_prepared_corpus_knows_best(facts):
    assert vocabulary_size(BytesTokenizer(kind="bytes")) == 257
    assert vocabulary_size(BytesTokenizer(kind="bytes"), facts(vocab_size=200)) == 200


def test_the_shipped_spec_can_be_planned_before_a_download(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    gpt2 = PretrainedTokenizer(kind="pretrained", path="openai-community/gpt2")
    assert vocabulary_size(gpt2) == 50_257


@pytest.mark.parametrize("content", [b"", b"[]", b'{"model": {}}', b"\xff\xfe", b'{"model": 1}'])
def test_another_file_is_refused_by_name(tmp_path, content):
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(PlanError, match=r"tokenizer\.path: .*tokenizer\.json is not a tokenizer\.json"):
        read_vocabulary_size(file)


def test_what_is_not_here_says_how_to_get_it(tmp_path):
    with pytest.raises(PlanError, match=r"folder without a tokenizer\.json"):
        vocabulary_size(PretrainedTokenizer(kind="pretrained", path=str(tmp_path)))
    with pytest.raises(PlanError) as error:
        vocabulary_size(PretrainedTokenizer(kind="pretrained", path="nobody/nothing"))
    assert str(error.value) == (
        "data.tokenizer.path: nobody/nothing is neither a file nor a folder here, and not in the hub's "
        "cache. Download it first: hf download nobody/nothing tokenizer.json"
    )
