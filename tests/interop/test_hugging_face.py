"""Parity with transformers' own models, and folders that its Auto classes open."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from toolkit.data.tokenizer import END_OF_TEXT, TextTokenizer
from toolkit.interop.errors import InteropError
from toolkit.interop.hugging_face import from_hugging_face, to_hugging_face
from toolkit.models.build import build_head, build_trunk
from toolkit.models.generate import generate
from toolkit.models.head import LMHead
from toolkit.models.initialise import initialise
from toolkit.models.trunk import GPTTrunk
from toolkit.spec.model import GPT, Architecture, resolve_architecture

transformers = pytest.importorskip("transformers")

VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": {"preset": "gpt2"},
    "gpt2_untied_without_bias": {"preset": "gpt2", "bias": False, "tie_embeddings": False, "d_ff": 96},
    "gpt2_relu2": {"preset": "gpt2", "activation": "relu2"},
    "llama": {"preset": "llama"},
    "llama_grouped_tied_bias": {"preset": "llama", "n_kv_heads": 2, "tie_embeddings": True, "bias": True},
    "llama_wide_heads": {"preset": "llama", "head_dim": 32, "rope_theta": 500.0},
    "qwen3": {"preset": "qwen3"},
    "qwen3_grouped_tied": {"preset": "qwen3", "n_kv_heads": 1, "tie_embeddings": True, "norm_eps": 1e-3},
}
CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
TEXT = "def add(a, b):\n    return a + b\n\nclass Node:\n    pass\n" * 4


def architecture(vocab_size: int = 300, **options: Any) -> Architecture:
    sizes: dict[str, Any] = {"n_layers": 3, "d_model": 64, "n_heads": 4}
    return resolve_architecture(GPT(kind="gpt", **sizes | options), vocab_size=vocab_size, sequence_length=48)


def random_model(arch: Architecture) -> tuple[GPTTrunk, LMHead, dict[str, torch.Tensor]]:
    trunk = build_trunk(arch)
    head = build_head(arch, trunk)
    initialise(trunk, head, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (*trunk.parameters(), *head.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return trunk, head, trunk.state_dict(prefix="trunk.") | head.state_dict(prefix="head.")


@pytest.fixture(scope="module")
def tokenizer() -> bytes:
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    built.train_from_iterator([TEXT], trainer)
    return built.to_str().encode()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_family_s_own_model_gives_the_same_logits(variant: str, tmp_path: Path) -> None:
    arch = architecture(**VARIANTS[variant])
    trunk, head, state = random_model(arch)
    to_hugging_face(arch, state, None, tmp_path / "out")
    theirs = getattr(transformers, CLASSES[arch.preset]).from_pretrained(tmp_path / "out").eval()
    tokens = torch.randint(300, (2, 48), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours, expected = head(trunk(tokens)), theirs(tokens).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_folder_comes_back_as_it_was_written(variant: str, tmp_path: Path) -> None:
    arch = architecture(**VARIANTS[variant])
    trunk, head, state = random_model(arch)
    to_hugging_face(arch, state, None, tmp_path / "out")
    back = from_hugging_face(tmp_path / "out")
    again = build_trunk(back.architecture)
    again_head = build_head(back.architecture, again)
    again.load_state_dict(
        {n.removeprefix("trunk."): w for n, w in back.state.items() if n.startswith("trunk.")}
    )
    again_head.load_state_dict(
        {n.removeprefix("head."): w for n, w in back.state.items() if n.startswith("head.")}
    )
    for name, weight in state.items():
        assert torch.equal(back.state[name], weight), name
    tokens = torch.arange(48).unsqueeze(0)
    torch.testing.assert_close(again_head(again(tokens)), head(trunk(tokens)))


@pytest.mark.parametrize("family", CLASSES)
def test_transformers_own_save_is_read(family: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    arch = architecture(preset=family)
    to_hugging_face(arch, random_model(arch)[2], None, tmp_path / "ours")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="200KB")
    read = from_hugging_face(tmp_path / "theirs")
    trunk = build_trunk(read.architecture)
    head = build_head(read.architecture, trunk)
    trunk.load_state_dict(
        {n.removeprefix("trunk."): w for n, w in read.state.items() if n.startswith("trunk.")}
    )
    head.load_state_dict({n.removeprefix("head."): w for n, w in read.state.items() if n.startswith("head.")})
    tokens = torch.arange(48).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(head(trunk(tokens)), theirs(tokens).logits, atol=1e-5, rtol=0)


def test_the_first_gpt2_files_are_read(tmp_path: Path) -> None:
    """They were saved from the body alone: no prefix, no head, and the causal masks among the weights."""
    arch = architecture(preset="gpt2")
    state = random_model(arch)[2]
    to_hugging_face(arch, state, None, tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    old = {name.removeprefix("transformer."): weight for name, weight in load_file(file).items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 48, 48).tril() for i in range(arch.n_layers)}
    save_file(old | masks, file)
    read = from_hugging_face(tmp_path / "out")
    assert read.state.keys() == state.keys()
    assert all(torch.equal(read.state[name], weight) for name, weight in state.items())


@pytest.mark.parametrize("family", CLASSES)
def test_the_auto_classes_write_the_same_greedy_text(family: str, tmp_path: Path, tokenizer: bytes) -> None:
    arch = architecture(preset=family)
    trunk, head, state = random_model(arch)
    to_hugging_face(arch, state, TextTokenizer(tokenizer), tmp_path / "out")
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    prompt = "def add(a"
    inputs = their_tokenizer(prompt, return_tensors="pt")
    our_tokenizer = Tokenizer.from_str(tokenizer.decode())
    ids = [0, *our_tokenizer.encode(prompt).ids]
    assert inputs["input_ids"][0].tolist() == ids
    written = theirs.generate(**inputs, max_new_tokens=30, do_sample=False)[0, len(ids) :].tolist()
    ours = list(generate(trunk, head, ids, max_new_tokens=30, temperature=0.0, stop_id=0))
    assert ours == [token for token in written if token != 0]
    assert len(ours) > 3
    assert their_tokenizer.decode(ours) == our_tokenizer.decode(ours)


def test_weights_can_be_written_in_bfloat16(tmp_path: Path) -> None:
    arch = architecture(preset="qwen3")
    to_hugging_face(arch, random_model(arch)[2], None, tmp_path / "out", dtype=torch.bfloat16)
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert all(w.dtype == torch.float32 for w in from_hugging_face(tmp_path / "out").state.values())


def test_export_never_touches_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    arch = architecture()
    with pytest.raises(InteropError, match="is not an empty folder"):
        to_hugging_face(arch, random_model(arch)[2], None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    arch = architecture()
    state = random_model(arch)[2]
    del state["trunk.blocks.1.attention.k.weight"]
    with pytest.raises(InteropError, match=r"the checkpoint: has no trunk\.blocks\.1\.attention\.k\.weight"):
        to_hugging_face(arch, state, None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_no_family_can_hold_is_refused(tmp_path: Path) -> None:
    arch = architecture(preset="qwen3", activation="relu2")
    with pytest.raises(InteropError) as caught:
        to_hugging_face(arch, random_model(arch)[2], None, tmp_path / "out")
    assert str(caught.value) == (
        "this model can't be exported: with rmsnorm only llama and qwen3 are left, which need "
        'activation = "swiglu".'
    )


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    arch = architecture(preset="llama")
    to_hugging_face(arch, random_model(arch)[2], None, tmp_path / "out")
    return tmp_path / "out"


Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c.update(model_type="mamba"),
            "model_type 'mamba' can't be read. Known families: gpt2, llama, qwen3, bert, modernbert, vit, vit_mae.",
        ),
        (lambda c: c.pop("hidden_size"), "hidden_size is missing."),
        (lambda c: c.update(rope_parameters={"rope_type": "yarn"}), "rope_type 'yarn' is not something"),
        (lambda c: c.update(mlp_bias=True), "attention_bias without mlp_bias is not something"),
    ],
)
def test_a_config_that_can_t_be_read_is_named(exported: Path, edit: Edit, message: str) -> None:
    config = json.loads((exported / "config.json").read_text())
    edit(config)
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(InteropError) as caught:
        from_hugging_face(exported)
    assert str(caught.value).startswith(f"{exported / 'config.json'}: {message}")


def test_broken_folders_are_named(exported: Path) -> None:
    weights = exported / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InteropError, match="is not a whole safetensors file"):
        from_hugging_face(exported)
    weights.rename(exported / "pytorch_model.bin")
    with pytest.raises(
        InteropError, match=r"has no model.safetensors. Pickled weights \(.bin\) are not read"
    ):
        from_hugging_face(exported)
    (exported / "config.json").unlink()
    with pytest.raises(InteropError, match=r"has no config\.json"):
        from_hugging_face(exported)
