"""Parameters, operations and memory of every objective, against the tasks that carry it out."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from toolkit.engine.probe import Numbers
from toolkit.models import attention
from toolkit.models.task import Given, Task
from toolkit.objectives.registry import OBJECTIVES
from toolkit.plan import memory
from toolkit.plan.objectives import objective_flops, objective_memory, objective_parameters
from toolkit.plan.sizes import count_parameters
from toolkit.spec.model import BERT, Architecture, ModernBERT, ViT, resolve_architecture
from toolkit.spec.objective import Contrastive, Decoder, MaskedImage, MaskedLM, RotationObjective
from toolkit.spec.train import AdamW

SIZES: dict[str, Any] = {"n_layers": 3, "d_model": 128, "n_heads": 4}
VIT = ViT(kind="vit", pooling="mean", n_registers=2, **SIZES)
CASES: dict[str, tuple[Any, Any]] = {
    "bert": (BERT(kind="bert", **SIZES), MaskedLM(kind="masked_lm")),
    "bert_few": (BERT(kind="bert", n_segments=1, d_ff=200, **SIZES), MaskedLM(kind="masked_lm", share=0.15)),
    "modernbert": (ModernBERT(kind="modernbert", window=32, **SIZES), MaskedLM(kind="masked_lm")),
    "rotation": (VIT, RotationObjective(kind="rotation")),
    "mae": (VIT, MaskedImage(kind="masked_image", decoder=Decoder(n_layers=2))),
    "mae_sincos": (
        ViT(kind="vit", positions="sincos", pooling="mean", class_token=False, **SIZES),
        MaskedImage(kind="masked_image", share=0.5),
    ),
    "simmim": (VIT, MaskedImage(kind="masked_image", method="simmim")),
    "simclr": (VIT, Contrastive(kind="contrastive")),
    "vicreg": (VIT, Contrastive(kind="contrastive", method="vicreg", hidden=512)),
}
LENGTH, VOCABULARY, SHAPE = 128, 1024, (3, 32, 32)


def made(name: str) -> tuple[Architecture, Any, Task, int]:
    model, objective = CASES[name]
    arch = resolve_architecture(model, vocab_size=VOCABULARY, sequence_length=LENGTH, image_shape=SHAPE)
    tokenizer = None if isinstance(model, ViT) else Numbers(VOCABULARY)
    task = OBJECTIVES[objective.kind](objective, Given(arch, (), tokenizer))
    return arch, objective, task, arch.max_sequence_length


def batch(task: Task, rows: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    if task.trunk.arch.kind == "vit":
        return {"inputs": torch.from_numpy(rng.integers(0, 256, (rows, *SHAPE), dtype=np.uint8))}
    tokens = torch.from_numpy(rng.integers(1, VOCABULARY - 1, (rows, LENGTH)))
    return {"inputs": tokens, "targets": tokens}


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_exact(name: str) -> None:
    arch, objective, task, _ = made(name)
    counts = objective_parameters(arch, objective)
    assert counts.total == sum(p.numel() for p in task.parameters())
    assert counts.total == counts.embedding + counts.head + counts.non_embedding
    trunk = count_parameters(arch)
    assert trunk.embedding + trunk.non_embedding == sum(p.numel() for p in task.trunk.parameters())


@pytest.mark.parametrize("name", CASES)
def test_operations_are_those_counted_from_the_modules(name: str) -> None:
    arch, objective, task, length = made(name)
    assert objective_flops(arch, objective, length) == pytest.approx(task.forward_flops(length), rel=1e-3)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_memory_is_within_ten_percent_of_the_allocator_s_peak(
    name: str, precision: Any, tmp_path: Any
) -> None:
    rows = 16
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as account:
        arch, objective, task, length = made(name)
        task.initialise(0)
        task.compute_in(getattr(torch, precision))
        optimizer = torch.optim.AdamW(task.parameters(), fused=True)
        for _ in range(2):
            loss = task(batch(task, rows)).total
            loss.backward()
            del loss
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    file = tmp_path / "trace.json"
    account.export_chrome_trace(str(file))
    events = [e for e in json.loads(file.read_text())["traceEvents"] if e["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    before = events[0]["args"]["Total Allocated"] - events[0]["args"]["Bytes"]
    measured = max(event["args"]["Total Allocated"] for event in events) - before
    estimate = objective_memory(
        arch,
        objective,
        rows=rows,
        sequence_length=length,
        precision=precision,
        device="cpu",
        optimizer=AdamW(kind="adamw"),
        accumulates=False,
    )
    assert estimate.total - estimate.runtime - estimate.fragmentation == pytest.approx(measured, rel=0.1)


def test_constants_are_those_of_the_modules() -> None:
    assert memory.PLAIN_KEYS == attention.PLAIN_KEYS
