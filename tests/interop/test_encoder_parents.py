"""BERT, ModernBERT and ViT folders of others as parents: the same hidden states, the right tokens, and back again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.interop.encoders import WORDS, write_encoder
from toolkit.engine.datasets import read_tokenizer
from toolkit.engine.weights import read_checkpoint_plan
from toolkit.evals.filling import fill, load_for_filling
from toolkit.evals.sampling import load_task, load_trunk
from toolkit.interop.errors import InteropError
from toolkit.interop.export import export_checkpoint
from toolkit.interop.imports import import_parent
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import BadFile
from toolkit.store.manifest import Checkpoint

transformers = pytest.importorskip("transformers")
TEXT_CLASSES = (
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "ModernBertModel",
    "ModernBertForMaskedLM",
    "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification",
)
IMAGE_CLASSES = ("ViTModel", "ViTForImageClassification", "ViTMAEModel", "ViTMAEForPreTraining")
PAIRS = [("Lorem ipsum", "good bads."), ("Café et", "sit"), ("amet amet dolor good", "ipsum")]


def imported(folder: Path, root: Path) -> Checkpoint:
    return CheckpointStore(import_parent(f"hf:{folder}", root)).resolve("last")


def body_of(model: Any) -> Any:
    return getattr(model, model.base_model_prefix, model)


@pytest.mark.parametrize("name", TEXT_CLASSES)
def test_hidden_states_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """Rows of pairs, padded, with segments where the model has them, as its own tokenizer makes them."""
    theirs = write_encoder(name, tmp_path / "model")
    checkpoint = imported(tmp_path / "model", tmp_path / "runs")
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    batch = words([a for a, _ in PAIRS], [b for _, b in PAIRS], padding=True, return_tensors="pt")
    lengths = batch["attention_mask"].sum(1)
    assert len(set(lengths.tolist())) > 1, "some rows are padded"
    segments = {"segments": batch["token_type_ids"]} if "token_type_ids" in batch else {}
    assert bool(segments) == name.startswith("Bert")
    with torch.no_grad():
        expected = body_of(theirs)(**batch).last_hidden_state
        ours = load_trunk(checkpoint)(batch["input_ids"], lengths, **segments)
    real = batch["attention_mask"].bool()
    assert expected[real].std() > 0.1
    torch.testing.assert_close(ours[real], expected[real], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", IMAGE_CLASSES)
def test_an_image_model_reads_what_its_processor_makes(name: str, tmp_path: Path) -> None:
    theirs = write_encoder(name, tmp_path / "model")
    checkpoint = imported(tmp_path / "model", tmp_path / "runs")
    trunk = load_trunk(checkpoint)
    shape = trunk.arch.channels, trunk.arch.height, trunk.arch.width
    images = torch.randint(256, (4, *shape), dtype=torch.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model", use_fast=False)
    pixels = processor([image.permute(1, 2, 0).numpy() for image in images], return_tensors="pt")
    with torch.no_grad():
        if "MAE" in name:
            body = body_of(theirs)
            body.embeddings.config.mask_ratio = 0.0
            found = body(**pixels)
            order = found.ids_restore[..., None].expand(-1, -1, trunk.d_model)
            hidden = found.last_hidden_state
            expected = torch.cat([hidden[:, :1], hidden[:, 1:].gather(1, order)], 1)
        else:
            expected = body_of(theirs)(**pixels, output_hidden_states=True)
            expected = expected.last_hidden_state
        torch.testing.assert_close(trunk(images), expected, atol=1e-5, rtol=0)
    data = read_checkpoint_plan(checkpoint).data
    assert (data.modality, data.image_shape) == ("image", shape)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "ModernBertForMaskedLM"])
def test_a_masked_model_fills_in_as_it_does_in_transformers(name: str, tmp_path: Path) -> None:
    theirs = write_encoder(name, tmp_path / "model", vocab_size=17)
    checkpoint = imported(tmp_path / "model", tmp_path / "runs")
    assert read_checkpoint_plan(checkpoint).task.kind == "masked_lm"
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    row = words("good [MASK] sit.", return_tensors="pt")
    with torch.no_grad():
        logits = theirs(**row).logits[row["input_ids"] == 4][0]
        task: Any = load_task(checkpoint).task
        torch.testing.assert_close(
            task.candidates(row["input_ids"][0].tolist())[0], logits.log_softmax(0), atol=1e-5, rtol=0
        )
    ordinary = logits[5:].softmax(0)
    (found,) = fill(load_for_filling(checkpoint), "Good [MASK] sit.").masks
    assert found[0].token == WORDS[int(ordinary.argmax())]


def same_weights(before: Path, after: Path) -> set[str]:
    """Compares what both files hold; what only the first one holds."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    if not new.keys() & old.keys():  # one of them has the body's prefix
        prefix = next(iter(new)).split(".")[0] + "."
        old = {prefix + name: tensor for name, tensor in old.items()}
    assert new.keys() <= old.keys()
    assert all(torch.equal(new[name], old[name]) for name in new)
    return old.keys() - new.keys()


@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM", "ModernBertModel", "ModernBertForMaskedLM"])
def test_a_folder_comes_back_equal(name: str, tmp_path: Path) -> None:
    theirs = write_encoder(name, tmp_path / "model")
    checkpoint = imported(tmp_path / "model", tmp_path / "runs")
    back = export_checkpoint(checkpoint, tmp_path / "back").folder
    assert same_weights(tmp_path / "model", back) <= {"cls.predictions.decoder.bias"}
    config = json.loads((back / "config.json").read_text())
    assert config["architectures"] == [name]
    again = getattr(transformers, name).from_pretrained(back).eval()
    old, new = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "model", back))
    batches = [
        words([a for a, _ in PAIRS], [b for _, b in PAIRS], padding=True, return_tensors="pt")
        for words in (old, new)
    ]
    assert batches[0].keys() == batches[1].keys()
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in batches[0])
    roles = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")
    assert [getattr(old, role) for role in roles] == [getattr(new, role) for role in roles]
    with torch.no_grad():
        for one, other in zip(theirs(**batches[0]).values(), again(**batches[1]).values(), strict=True):
            assert torch.equal(one, other)
    second = imported(back, tmp_path / "again")
    assert read_checkpoint_plan(second).architecture == read_checkpoint_plan(checkpoint).architecture
    tokenizers = [read_tokenizer(found) for found in (checkpoint, second)]
    assert all(tokenizer is not None for tokenizer in tokenizers)
    assert len({tokenizer.frame for tokenizer in tokenizers if tokenizer}) == 1


def test_a_vit_comes_back_equal(tmp_path: Path) -> None:
    theirs = write_encoder("ViTModel", tmp_path / "model")
    checkpoint = imported(tmp_path / "model", tmp_path / "runs")
    back = export_checkpoint(checkpoint, tmp_path / "back").folder
    assert same_weights(tmp_path / "model", back) == {"vit.pooler.dense.weight", "vit.pooler.dense.bias"}
    again = transformers.ViTModel.from_pretrained(back, add_pooling_layer=False).eval()
    image = torch.randint(256, (12, 16, 3), dtype=torch.uint8).numpy()
    pixels = [
        transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)(image, return_tensors="pt")
        for folder in (tmp_path / "model", back)
    ]
    assert torch.equal(pixels[0]["pixel_values"], pixels[1]["pixel_values"])
    with torch.no_grad():
        assert torch.equal(theirs(**pixels[0]).last_hidden_state, again(**pixels[1]).last_hidden_state)


def test_a_body_without_a_head_says_what_it_is_for(tmp_path: Path) -> None:
    write_encoder("BertModel", tmp_path / "model")
    checkpoint = imported(tmp_path / "model", tmp_path / "runs")
    assert read_checkpoint_plan(checkpoint).task.kind == "body"
    with pytest.raises(BadFile, match="a body without a head, which does nothing by itself: fine-tune it"):
        load_task(checkpoint)


def test_what_is_left_behind_is_told(tmp_path: Path) -> None:
    write_encoder("BertForSequenceClassification", tmp_path / "model")
    notes = read_checkpoint_plan(imported(tmp_path / "model", tmp_path / "runs")).origin.notes
    assert len(notes) == 1
    assert "is a BertForSequenceClassification: its body is taken" in notes[0]


def edited(folder: Path, file: str, **values: Any) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | values))


@pytest.mark.parametrize(
    ("name", "file", "values", "message"),
    [
        (
            "BertModel",
            "config.json",
            {"architectures": ["BertLMHeadModel"]},
            "BertLMHeadModel can't be read. Of bert these can: BertModel, BertForMaskedLM, "
            "BertForSequenceClassification, BertForTokenClassification, BertForPreTraining,",
        ),
        ("BertModel", "config.json", {"model_type": "deberta"}, "model_type 'deberta' can't be read. Known"),
        ("BertModel", "config.json", {"is_decoder": True}, "is_decoder is not something"),
        ("BertModel", "tokenizer.json", {"post_processor": None}, "it puts no tokens around a text"),
        ("ViTModel", "config.json", {"architectures": ["DeiTModel"]}, "DeiTModel can't be read. Of vit"),
        ("ViTModel", "config.json", {"num_channels": 4}, "num_channels 4 is not something"),
        ("ViTModel", "preprocessor_config.json", {"rescale_factor": 1}, "rescale_factor is not something"),
        (
            "ViTModel",
            "preprocessor_config.json",
            {"size": {"shortest_edge": 9}},
            "a size of {'shortest_edge': 9}",
        ),
        (
            "ViTModel",
            "preprocessor_config.json",
            {"image_std": [1, 0, 1]},
            "image_std [1.0, 0.0, 1.0] is not",
        ),
        ("ViTModel", "preprocessor_config.json", {"image_mean": "x"}, "does not describe a model"),
    ],
)
def test_what_is_not_ours_is_named(
    name: str, file: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_encoder(name, tmp_path / "model")
    edited(tmp_path / "model", file, **values)
    from toolkit.data.errors import DataError

    with pytest.raises((InteropError, DataError)) as caught:
        import_parent(f"hf:{tmp_path / 'model'}", tmp_path / "runs")
    assert message in str(caught.value)
    assert str(tmp_path / "model") in str(caught.value)
