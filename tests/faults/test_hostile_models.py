"""Model folders that somebody else wrote: their tokenizer and configuration, spoiled in any way."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.interop.encoders import CONFIGS
from toolkit.data.errors import DataError
from toolkit.data.tokenizer import TextTokenizer
from toolkit.data.training import train
from toolkit.interop.config import read_config
from toolkit.interop.errors import InteropError
from toolkit.interop.source import Source, describe, find_source, read_tokenizer
from toolkit.plan.errors import PlanError
from toolkit.plan.sizes import count_parameters
from toolkit.plan.vocabulary import read_vocabulary_size
from toolkit.spec.data import BPETokenizer, UnigramTokenizer, WordPieceTokenizer

BOUNDED = settings(max_examples=80, deadline=None)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2**31 - 1, 2**32, 2**63, 10**400, 1e308, float("nan"), float("inf"), -0.5])
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "a" * 5000, "../../x", "[SEP]", "(" * 40, "(a+)+$", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
TOKENIZERS = {
    "bpe": BPETokenizer(kind="bpe", vocab_size=270, mask_token=True),
    "unigram": UnigramTokenizer(kind="unigram", vocab_size=310),
    "wordpiece": WordPieceTokenizer(kind="wordpiece", vocab_size=300),
}


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value; of long lists and objects the beginning."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:12]:
        found += places(inner, (*path, key))
    return found


def changed(value: Any, path: tuple[Any, ...], new: object, *, gone: bool) -> Any:
    whole = copy.deepcopy(value)
    at = whole
    for key in path[:-1]:
        at = at[key]
    if gone:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return whole


def use(data: bytes, file: Path) -> None:
    """A tokenizer is read and does its work, or is refused in words."""
    file.write_bytes(data)
    said = str(file)
    try:
        size = read_vocabulary_size(file)
    except PlanError as error:
        size, said = 0, str(error)
    assert str(file) in said
    assert 0 <= size <= 1 << 24
    for make in (TextTokenizer.read, lambda path: TextTokenizer.of_encoder(path.read_bytes(), segments=True)):
        try:
            tokenizer = make(file)
        except (DataError, ValueError):
            continue
        assert tokenizer.vocab_size <= 1 << 24
        ids = tokenizer.encode("lorem ipsum") + tokenizer.encode_words(["lorem", "b"])[0]
        assert all(0 <= i < tokenizer.vocab_size for i in ids)
        tokenizer.decode(ids)
        tokenizer.spelled(tokenizer.end_of_text_id)
        assert len(tokenizer.word_edges[0]) == tokenizer.vocab_size


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_with_anything_in_it_works_or_is_refused(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = json.loads(train(TOKENIZERS[kind], ["lorem ipsum dolor"] * 3).json)

    @given(st.sampled_from(places(whole)), VALUES, st.booleans())
    @BOUNDED
    def check(path: tuple[Any, ...], value: object, gone: bool) -> None:
        spoiled = json.dumps(changed(whole, path, value, gone=gone)).encode()
        use(spoiled, tmp_path_factory.mktemp("t") / "tokenizer.json")

    check()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_tokenizer_of_flipped_bytes_works_or_is_refused(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = train(TOKENIZERS[kind], ["lorem ipsum dolor"] * 3).json

    @given(
        st.integers(0, len(whole)),
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), max_size=3),
    )
    @settings(max_examples=30, deadline=None)
    def check(length: int, flips: list[tuple[int, int]]) -> None:
        spoiled = bytearray(whole)
        for place, bits in flips:
            spoiled[place] ^= bits
        folder = tmp_path_factory.mktemp("t")
        use(bytes(spoiled), folder / "tokenizer.json")
        use(bytes(spoiled[:length]), folder / "tokenizer.json")

    check()


GPT = {"model_type": "gpt2", "vocab_size": 300, "n_positions": 48, "n_embd": 32, "n_layer": 2, "n_head": 4}
LLAMA = {
    "vocab_size": 300,
    "max_position_embeddings": 48,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    "attention_bias": False,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "architectures": ["LlamaForCausalLM"],
}
WHOLE: dict[str, dict[str, Any]] = {
    "gpt2": GPT | {"n_inner": 64, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"},
    "llama": LLAMA | {"model_type": "llama"},
    "qwen3": {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
    "bert": {**CONFIGS["bert"], "model_type": "bert", "hidden_act": "gelu"},
    "modernbert": {
        **CONFIGS["modernbert"],
        "model_type": "modernbert",
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_theta": 1e4}, "sliding_attention": {"rope_theta": 1e4}},
        "classifier_pooling": "mean",
    },
    "vit": {**CONFIGS["vit"], "model_type": "vit"},
}
PROCESSOR = {
    "size": {"height": 12, "width": 16},
    "crop_size": 12,
    "do_center_crop": False,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255,
}


def refused(error: InteropError) -> None:
    assert str(error).startswith("the/config.json: ")
    assert len(str(error)) < 1000


@pytest.mark.parametrize("family", WHOLE)
def test_a_configuration_with_anything_in_it_is_a_model_or_refused(family: str) -> None:
    whole = WHOLE[family]
    assert read_config(whole, "config.json").family == family

    @given(st.lists(st.tuples(st.sampled_from(places(whole)), VALUES, st.booleans()), min_size=1, max_size=2))
    @settings(max_examples=200, deadline=None)
    def check(changes: list[tuple[tuple[Any, ...], object, bool]]) -> None:
        config = whole
        for path, value, gone in changes:
            try:
                config = changed(config, path, value, gone=gone)
            except (KeyError, IndexError, TypeError):
                continue  # the place is gone already
        try:
            found = read_config(config, "the/config.json")
        except InteropError as error:
            refused(error)
            return
        arch = found.architecture
        assert 0 < count_parameters(arch).total < 1 << 60
        assert arch.norm_eps > 0
        assert 0 < arch.n_layers <= 1024
        assert type(arch).model_validate_json(arch.model_dump_json()) == arch

    check()


@given(st.sampled_from(places(PROCESSOR)), VALUES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_an_image_processor_with_anything_in_it_is_read_or_refused(
    path: tuple[Any, ...], value: object, gone: bool
) -> None:
    processor = changed(PROCESSOR, path, value, gone=gone)
    try:
        arch = read_config(WHOLE["vit"], "the/config.json", lambda name: processor).architecture
    except InteropError as error:
        refused(error)
        return
    assert arch.kind == "vit"
    assert min(arch.pixel_std) > 0
    assert all(abs(number) < 1e6 for number in (*arch.pixel_mean, *arch.pixel_std))


@given(
    st.binary(max_size=60),
    st.sampled_from(["config.json", "tokenizer_config.json", "special_tokens_map.json"]),
)
@settings(max_examples=60, deadline=None)
def test_a_folder_with_any_bytes_in_its_json_is_described_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(WHOLE["gpt2"]))
    (folder / "tokenizer.json").write_bytes(train(TOKENIZERS["bpe"], ["lorem"] * 3).json)
    (folder / name).write_bytes(data)
    source = find_source(str(folder), None)
    assert isinstance(source, Source)
    said = str(folder)
    try:
        read_tokenizer(source, describe(source))
    except (InteropError, DataError) as error:
        said = str(error)
    assert str(folder) in said
