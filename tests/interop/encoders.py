"""Folders of encoders with random weights, as transformers saves them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ["lorem", "ipsum", "dolor", "sit", "amet", "good", "bad", "##s", "##um", "et", "cafe", "."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 40,
}
IMAGES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "image_size": [12, 16],
    "patch_size": 4,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**SIZES, "layer_norm_eps": 1e-7, "type_vocab_size": 2},
    "modernbert": {
        **SIZES,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "norm_eps": 1e-6,
        **{f"{role}_token_id": number for role, number in (("pad", 0), ("cls", 2), ("sep", 3))},
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "vit": IMAGES,
    "vit_mae": {**IMAGES, "image_size": 16, "decoder_hidden_size": 32, "decoder_num_attention_heads": 2},
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 12, "width": 16},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def write_tokenizer(folder: Path, *, segments: bool = True) -> Any:
    """WordPiece with BERT's lower-casing and accents stripped, `[CLS] A [SEP] B [SEP]`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    transformers = pytest.importorskip("transformers")
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    built = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    built.add_special_tokens(SPECIAL)
    built.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    names = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=built, cls_token="[CLS]", sep_token="[SEP]", model_input_names=names, **roles
    )
    wrapped.save_pretrained(folder)
    return wrapped


def write_encoder(class_name: str, folder: Path, **changes: Any) -> Any:
    """A random model of a class, saved with its tokenizer or image processor; the model in evaluation mode."""
    transformers = pytest.importorskip("transformers")
    model_class = getattr(transformers, class_name)
    kind = model_class.config_class.model_type
    torch.manual_seed(3)
    model = model_class(model_class.config_class(**{**CONFIGS[kind], **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    if kind in ("vit", "vit_mae"):
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        processor = PROCESSOR | {"size": {"height": height, "width": width}}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    else:
        write_tokenizer(folder, segments=kind == "bert")
    return model.eval()
