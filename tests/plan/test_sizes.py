"""Parameter counts are exact: against our modules, and against transformers' own."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from toolkit.models.build import build_head, build_trunk
from toolkit.plan.sizes import block_matrices, count_parameters

PUBLISHED = {
    "gpt2": (
        {"preset": "gpt2", "n_layers": 12, "d_model": 768, "n_heads": 12},
        {"vocab_size": 50257, "sequence_length": 1024},
        {"n_layer": 12, "n_embd": 768, "n_head": 12},
        124_439_808,
    ),
    "llama": (  # TinyLlama 1.1B
        {
            "preset": "llama",
            "n_layers": 22,
            "d_model": 2048,
            "n_heads": 32,
            "n_kv_heads": 4,
            "d_ff": 5632,
        },
        {"vocab_size": 32000, "sequence_length": 2048},
        {
            "vocab_size": 32000,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
        },
        1_100_048_384,
    ),
    "qwen3": (  # Qwen3 0.6B
        {
            "preset": "qwen3",
            "n_layers": 28,
            "d_model": 1024,
            "n_heads": 16,
            "n_kv_heads": 8,
            "head_dim": 128,
            "d_ff": 3072,
            "tie_embeddings": True,
        },
        {"vocab_size": 151936, "sequence_length": 4096},
        {
            "vocab_size": 151936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
}


@pytest.mark.parametrize("family", PUBLISHED)
def test_published_models(architecture, family):
    options, sizes, config, published = PUBLISHED[family]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config))
    assert model.num_parameters() == published
    assert count_parameters(architecture(**sizes, **options)).total == published


@pytest.mark.parametrize("preset", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_embeddings": True},
        {"tie_embeddings": False, "bias": True},
        {"norm": "layernorm", "bias": False},
        {"norm": "rmsnorm", "bias": True, "qk_norm": True},
        {"activation": "relu2", "positions": "none"},
        {"activation": "swiglu", "bias": True, "positions": "learned", "max_sequence_length": 128},
        {"n_kv_heads": 2, "head_dim": 32, "d_ff": 96},
    ],
)
def test_our_modules(architecture, preset, options):
    arch = architecture(preset=preset, **options)
    with torch.device("meta"):
        trunk = build_trunk(arch)
        head = build_head(arch, trunk)
    counts = count_parameters(arch)
    places = [trunk.embed] + ([trunk.positions] if trunk.positions else [])
    assert counts.embedding == sum(p.numel() for place in places for p in place.parameters())
    assert counts.head == sum(p.numel() for p in head.parameters())
    assert counts.total == counts.head + sum(p.numel() for p in trunk.parameters())
    assert counts.total == counts.embedding + counts.head + counts.non_embedding
    matrices = [p for p in trunk.blocks.parameters() if p.ndim == 2]
    assert arch.n_layers * block_matrices(arch) == sum(p.numel() for p in matrices)
