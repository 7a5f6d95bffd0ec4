"""`[model]`: the architecture, one file a family, and the one way from a section to sizes."""

from typing import Annotated

from pydantic import Field

from toolkit.spec.architecture import BlockArchitecture, EncoderArchitecture, Norm
from toolkit.spec.bert import BERT, BERTArchitecture, resolve_bert
from toolkit.spec.gpt import GPT, PRESETS, GPTArchitecture, Preset, resolve_gpt
from toolkit.spec.modernbert import ModernBERT, ModernBERTArchitecture, resolve_modernbert
from toolkit.spec.vit import ViT, ViTArchitecture, resolve_vit

__all__ = [
    "BERT",
    "GPT",
    "PRESETS",
    "Architecture",
    "BERTArchitecture",
    "BlockArchitecture",
    "EncoderArchitecture",
    "GPTArchitecture",
    "Model",
    "ModernBERT",
    "ModernBERTArchitecture",
    "Norm",
    "Preset",
    "TextArchitecture",
    "ViT",
    "ViTArchitecture",
    "resolve_architecture",
]

Model = Annotated[GPT | BERT | ModernBERT | ViT, Field(discriminator="kind")]
TextArchitecture = GPTArchitecture | BERTArchitecture | ModernBERTArchitecture
Architecture = Annotated[
    GPTArchitecture | BERTArchitecture | ModernBERTArchitecture | ViTArchitecture, Field(discriminator="kind")
]


def resolve_architecture(
    model: GPT | BERT | ModernBERT | ViT,
    *,
    vocab_size: int = 0,
    sequence_length: int = 0,
    image_shape: tuple[int, int, int] = (0, 0, 0),
) -> Architecture:
    """Write out every default of `model`.

    Args:
        vocab_size: Of the tokenizer, for models of text.
        sequence_length: Of the data's rows, for models of text.
        image_shape: (channels, height, width) of the data's images, for models of images.
    """
    match model:
        case GPT():
            return resolve_gpt(model, vocab_size=vocab_size, sequence_length=sequence_length)
        case BERT():
            return resolve_bert(model, vocab_size=vocab_size, sequence_length=sequence_length)
        case ModernBERT():
            return resolve_modernbert(model, vocab_size=vocab_size, sequence_length=sequence_length)
        case ViT():
            return resolve_vit(model, image_shape=image_shape)
