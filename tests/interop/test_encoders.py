"""BERT, ModernBERT and ViT: parity with transformers' own models, and folders read back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from toolkit.interop.errors import InteropError
from toolkit.interop.hugging_face import from_hugging_face, to_hugging_face
from toolkit.models.build import build_head, build_trunk
from toolkit.models.initialise import initialise
from toolkit.spec.data import BPETokenizer
from toolkit.spec.model import BERT, ModernBERT, ViT, resolve_architecture

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {"n_layers": 4, "d_model": 64, "n_heads": 4}
VARIANTS: dict[str, Any] = {
    "bert": BERT(kind="bert", pooling="class", **SIZES),
    "bert_one_segment": BERT(kind="bert", pooling="class", n_segments=1, d_ff=96, norm_eps=1e-5, **SIZES),
    "modernbert": ModernBERT(kind="modernbert", window=10, global_every=2, **SIZES),
    "modernbert_wide": ModernBERT(kind="modernbert", global_rope_theta=500.0, pooling="class", **SIZES),
    "vit": ViT(kind="vit", **SIZES),
    "vit_sincos": ViT(kind="vit", positions="sincos", norm_eps=1e-6, **SIZES),
}
CLASSES = {"bert": "BertForMaskedLM", "modernbert": "ModernBertForMaskedLM", "vit": "ViTModel"}
SHAPE = (3, 16, 24)


def random_model(model: Any) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    arch = resolve_architecture(model, vocab_size=300, sequence_length=48, image_shape=SHAPE)
    trunk = build_trunk(arch)
    head = build_head(arch, trunk)
    heads = [] if head is None else [head]
    initialise(trunk, *heads, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (*trunk.parameters(), *(p for h in heads for p in h.parameters())):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    state = trunk.state_dict(prefix="trunk.")
    return trunk, head, state | ({} if head is None else head.state_dict(prefix="head."))


def compared(trunk: Any, head: Any, theirs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The same numbers of both models, at real positions."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        if head is None:
            x = torch.randint(256, (2, *SHAPE), dtype=torch.uint8, generator=generator)
            return trunk(x), theirs(pixel_values=(x.float() / 255 - 0.5) / 0.5).last_hidden_state
        tokens = torch.randint(300, (2, 48), generator=generator)
        lengths = torch.tensor([48, 29])
        real = torch.arange(48) < lengths[:, None]
        logits = theirs(tokens, attention_mask=real.long()).logits
        return head(trunk(tokens, lengths))[real], logits[real]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_family_s_own_model_gives_the_same_numbers(variant: str, tmp_path: Path) -> None:
    trunk, head, state = random_model(VARIANTS[variant])
    to_hugging_face(trunk.arch, state, None, tmp_path / "out")
    theirs = getattr(transformers, CLASSES[trunk.arch.kind]).from_pretrained(tmp_path / "out").eval()
    ours, expected = compared(trunk, head, theirs)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "vit_sincos"])
def test_a_folder_and_transformers_own_save_of_it_come_back(variant: str, tmp_path: Path) -> None:
    trunk, _, state = random_model(VARIANTS[variant])
    to_hugging_face(trunk.arch, state, None, tmp_path / "ours")
    theirs = getattr(transformers, CLASSES[trunk.arch.kind]).from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    head = {} if trunk.arch.kind == "vit" else {"head": "family"}
    for folder in ("ours", "theirs"):
        back = from_hugging_face(tmp_path / folder)
        assert back.architecture == trunk.arch.model_copy(update=head)
        assert back.state.keys() == state.keys()
        assert all(torch.equal(back.state[name], weight) for name, weight in state.items())


def test_fixed_positions_are_written_as_learned_ones(tmp_path: Path) -> None:
    trunk, _, state = random_model(VARIANTS["vit_sincos"])
    to_hugging_face(trunk.arch, state, None, tmp_path / "out")
    back = from_hugging_face(tmp_path / "out")
    assert back.architecture.positions == "learned"
    again = build_trunk(back.architecture)
    again.load_state_dict({n.removeprefix("trunk."): w for n, w in back.state.items()})
    x = torch.randint(256, (2, *SHAPE), dtype=torch.uint8)
    torch.testing.assert_close(again(x), trunk(x))


def test_the_first_bert_files_are_read(tmp_path: Path) -> None:
    """They name a norm's weights gamma and beta; a body alone has no prefix."""
    trunk, _, state = random_model(VARIANTS["bert"])
    to_hugging_face(trunk.arch, state, None, tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): w
        for name, w in load_file(file).items()
    }
    save_file(old, file)
    read = from_hugging_face(tmp_path / "out")
    assert all(torch.equal(read.state[name], weight) for name, weight in state.items())


def test_the_auto_classes_fill_in_the_same(tmp_path: Path) -> None:
    from toolkit.data.training import train

    tokenizer = train(
        BPETokenizer(kind="bpe", vocab_size=300, mask_token=True), ["def add(a, b): return a"] * 9
    )
    trunk, head, state = random_model(VARIANTS["modernbert"])
    to_hugging_face(trunk.arch, state, tokenizer, tmp_path / "out")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    encoded = words("def [MASK](a, b)", return_tensors="pt")
    row = encoded["input_ids"]
    assert int((row == tokenizer.mask_id).sum()) == 1
    assert row[0, 0] == row[0, -1] == tokenizer.end_of_text_id
    with torch.no_grad():
        torch.testing.assert_close(head(trunk(row)), theirs(**encoded).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        ("bert", {"hidden_act": "relu"}, "hidden_act 'relu' is not something"),
        (
            "bert",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type 'relative_key' is not",
        ),
        ("modernbert", {"mlp_bias": True}, "biases is not something"),
        ("vit", {"qkv_bias": False}, "qkv_bias = false is not something"),
    ],
)
def test_what_our_models_can_t_do_is_named(
    variant: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    trunk, _, state = random_model(VARIANTS[variant])
    to_hugging_face(trunk.arch, state, None, tmp_path / "out")
    file = tmp_path / "out" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InteropError) as caught:
        from_hugging_face(tmp_path / "out")
    assert str(caught.value).startswith(f"{file}: {message}")


def test_a_vit_without_a_class_token_can_t_be_exported(tmp_path: Path) -> None:
    trunk, _, state = random_model(ViT(kind="vit", class_token=False, pooling="mean", **SIZES))
    with pytest.raises(InteropError, match="vit needs class_token = true"):
        to_hugging_face(trunk.arch, state, None, tmp_path / "out")
