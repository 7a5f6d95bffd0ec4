"""Folders of three families with random weights, made by transformers, and fine-tunes of them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from toolkit.cli.stages import make_jobs
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.stage import carry_out
from toolkit.spec.load import load_spec

FAMILIES = ("gpt2", "llama", "qwen3")
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 48, "n_embd": 32, "n_layer": 2, "n_head": 4},
    **{
        family: {
            "max_position_embeddings": 48,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
        for family in ("llama", "qwen3")
    },
}
ROLES: dict[str, dict[str, str]] = {
    "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    "llama": {"bos_token": "<s>", "eos_token": "</s>"},
    "qwen3": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
}
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
SPEC = """
name = "{name}"
parent = "{parent}"
[run]
device = "cpu"
precision = "float32"
evaluate_every = "4 steps"
[finetune.sort]
kind = "classify"
data = {{ kind = "files", path = "{rows}" }}
duration = "4 steps"
[finetune.low]
kind = "classify"
tune = {{ kind = "lora", rank = 3, alpha = 7.0 }}
data = {{ kind = "files", path = "{rows}" }}
duration = "4 steps"
[finetune.number]
kind = "regress"
data = {{ kind = "files", path = "{rows}" }}
duration = "4 steps"
"""


def write_family(family: str, folder: Path) -> Path:
    """A random model of the family, with a tokenizer, as transformers saves them."""
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(family, vocab_size=320, **SIZES[family])
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    special = (
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if family == "qwen3" else list(ROLES[family].values())
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    built.train_from_iterator(["lorem ipsum dolor sit amet good bad " * 20], trainer)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=built, **ROLES[family])
    if family == "qwen3":
        wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models_of_others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder by family. Tests leave them as they are."""
    root = tmp_path_factory.mktemp("others")
    return {family: write_family(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w") as file:
        for _ in range(80):
            good = rng.random() < 0.5
            words = rng.choices(["lorem", "ipsum", "dolor", "good" if good else "bad"], k=rng.randint(3, 9))
            row = {
                "text": " ".join(words),
                "label": "pos" if good else "neg",
                "value": 100 + 10 * good + rng.random(),
            }
            file.write(json.dumps(row) + "\n")
    return path


Tune = Callable[..., Path]


@pytest.fixture(scope="session")
def tune(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Tune:
    """tune(name, parent, *stages) carries out stages as the worker of `tk run` does; the runs folder."""
    root = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()

    def carry(name: str, parent: str, *stages: str) -> Path:
        patch.setenv("TK_CACHE", str(root.parent / "cache"))
        spec = root.parent / f"{name}.toml"
        spec.write_text(SPEC.format(name=name, parent=parent, rows=rows))
        try:
            for stage in stages:
                for job in make_jobs(load_spec(spec, []), stage, root):
                    assert carry_out(job, Interrupts()) == 0
        finally:
            patch.undo()
        return root

    return carry


@pytest.fixture(scope="session")
def tuned(models_of_others: dict[str, Path], tune: Tune) -> Path:
    """The runs folder in which every family was imported and tuned in three ways."""
    for family, folder in models_of_others.items():
        root = tune(f"of-{family}", f"hf:{folder}", "sort", "low", "number")
    return root
