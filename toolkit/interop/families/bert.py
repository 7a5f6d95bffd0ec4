"""BERT."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.interop.families.family import (
    Beside,
    Config,
    Family,
    Head,
    Refusals,
    State,
    part,
    read_encoder,
    renamed,
    turned,
    with_kinds,
    write_encoder,
)
from toolkit.spec.model import BERTArchitecture

if TYPE_CHECKING:
    from torch import Tensor


def _write(arch: BERTArchitecture) -> Config:
    return write_encoder(arch) | {
        "vocab_size": arch.vocab_size,
        "max_position_embeddings": arch.max_sequence_length,
        "type_vocab_size": arch.n_segments,
        "hidden_act": "gelu",
        "layer_norm_eps": arch.norm_eps,
        "hidden_dropout_prob": arch.dropout,
        "attention_probs_dropout_prob": arch.dropout,
        "tie_word_embeddings": True,
    }


def _read(config: Mapping[str, Any], beside: Beside) -> tuple[BERTArchitecture, Refusals]:
    activation = config.get("hidden_act", "gelu")
    kind = config.get("position_embedding_type", "absolute")
    arch = BERTArchitecture(
        **read_encoder(config),
        vocab_size=config["vocab_size"],
        max_sequence_length=config["max_position_embeddings"],
        n_segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        activation="gelu_erf",
        bias=True,
        pooling="class",
        head="family",
    )
    return arch, {
        f"hidden_act {activation!r}": activation != "gelu",
        f"position_embedding_type {kind!r}": kind != "absolute",
        "is_decoder": config.get("is_decoder", False),
        "add_cross_attention": config.get("add_cross_attention", False),
        "tie_word_embeddings = false": not config.get("tie_word_embeddings", True),
    }


def _names(arch: BERTArchitecture, prefix: str) -> dict[str, str]:
    names = {
        "trunk.embed.weight": f"{prefix}embeddings.word_embeddings.weight",
        "trunk.positions.weight": f"{prefix}embeddings.position_embeddings.weight",
        "trunk.segments.weight": f"{prefix}embeddings.token_type_embeddings.weight",
    }
    parts = {"trunk.embed_norm": f"{prefix}embeddings.LayerNorm"}
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}encoder.layer.{i}"
        parts |= {
            f"{ours}.attention.q": f"{theirs}.attention.self.query",
            f"{ours}.attention.k": f"{theirs}.attention.self.key",
            f"{ours}.attention.v": f"{theirs}.attention.self.value",
            f"{ours}.attention.out": f"{theirs}.attention.output.dense",
            f"{ours}.attention_norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.feed_forward.up": f"{theirs}.intermediate.dense",
            f"{ours}.feed_forward.down": f"{theirs}.output.dense",
            f"{ours}.feed_forward_norm": f"{theirs}.output.LayerNorm",
        }
    return names | with_kinds(parts)


_WORDS = {"head.bias": "cls.predictions.bias"} | with_kinds(
    {
        "head.dense": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
    }
)
_POOLER = {"dense": "pooler.dense"}


def _neck(prefix: str) -> dict[str, str]:
    return with_kinds({f"neck.{ours}": f"{prefix}{theirs}" for ours, theirs in _POOLER.items()})


def _to(arch: BERTArchitecture, state: State) -> "dict[str, Tensor]":
    return renamed(_names(arch, "bert."), state) | part(_WORDS, state) | part(_neck("bert."), state)


def _back(arch: BERTArchitecture, weights: State) -> "dict[str, Tensor]":
    prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
    # The first BERT files call a norm's gain gamma and its shift beta.
    modern = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): w
        for name, w in weights.items()
    }
    body = renamed(turned(_names(arch, prefix)), modern)
    return body | part(turned(_WORDS), modern) | part(turned(_neck(prefix)), modern)


BERT = Family(
    ("bert",),
    "BertModel",
    "BertForMaskedLM",
    ("BertForPreTraining", "BertForNextSentencePrediction", "BertForQuestionAnswering"),
    _write,
    _read,
    _to,
    _back,
    heads={
        "pooled": Head(
            "BertForSequenceClassification", neck={"dense": "bert.pooler.dense"}, pools={"class": {}}
        ),
        "positions": Head("BertForTokenClassification"),
    },
    words_key="cls.predictions.bias",
)
