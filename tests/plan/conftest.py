"""A machine, a corpus and a spec to plan with."""

from collections.abc import Callable
from typing import Any

import pytest

from toolkit.plan.corpus import CorpusFacts, SourceFacts, SplitFacts
from toolkit.plan.machine import GPU, Machine
from toolkit.spec.model import GPT, Architecture, resolve_architecture
from toolkit.spec.spec import Spec

SPEC: dict[str, Any] = {
    "name": "gpt_small",
    "data": {"sequence_length": 256, "tokenizer": {"kind": "bpe", "vocab_size": 4096}},
    "model": {"kind": "gpt", "n_layers": 6, "d_model": 384, "n_heads": 6},
    "objective": {"kind": "causal_lm"},
    "train": {"duration": "400M tokens", "batch": "64 rows"},
}


@pytest.fixture
def spec() -> Callable[..., Spec]:
    """Makes a spec; keyword arguments replace keys of its sections: `spec(train={"batch": "8 rows"})`."""

    def make(**changes: Any) -> Spec:
        merged = {**SPEC}
        for key, value in changes.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        return Spec(**merged)

    return make


@pytest.fixture
def machine() -> Machine:
    return Machine(
        system="Linux",
        architecture="x86_64",
        cpu="Test 1",
        cores=2,
        flags=("avx2", "avx512_bf16"),
        memory=24 * 2**30,
        available=20 * 2**30,
    )


@pytest.fixture
def gpu_machine(machine: Machine) -> Machine:
    h200 = GPU(name="NVIDIA H200", memory=140 * 2**30, free=139 * 2**30, capability=(9, 0))
    return machine.model_copy(update={"gpus": (h200,)})


@pytest.fixture
def facts() -> Callable[..., CorpusFacts]:
    """Makes the facts of a corpus of one source with full rows of 256 tokens."""

    def make(rows: int = 500_000, held_out: int = 4_000, sources: int = 1, **changes: Any) -> CorpusFacts:
        source = SourceFacts(
            kind="python_stdlib",
            fingerprint="ab" * 32,
            train=SplitFacts(documents=rows, bytes=rows * 900, tokens=rows * 256, rows=rows),
            validation=SplitFacts(documents=40, bytes=held_out * 900, tokens=held_out * 256, rows=held_out),
        )
        made = CorpusFacts(fingerprint="cd" * 32, vocab_size=4096, sources=(source,) * sources)
        return made.model_copy(update=changes)

    return make


@pytest.fixture
def architecture() -> Callable[..., Architecture]:
    """Makes an architecture with nothing left open."""

    def make(*, vocab_size: int = 512, sequence_length: int = 64, **options: Any) -> Architecture:
        model = GPT(kind="gpt", **{"n_layers": 2, "d_model": 64, "n_heads": 4, **options})
        return resolve_architecture(model, vocab_size=vocab_size, sequence_length=sequence_length)

    return make
