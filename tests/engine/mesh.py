"""One of two ranks: trains a few steps divided in each way, and alone, and compares. `python mesh.py FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from toolkit.engine.hardware import Hardware
from toolkit.engine.parallel import whole
from toolkit.engine.probe import Numbers, made_up
from toolkit.engine.ranks import ALONE, Ranks
from toolkit.engine.tensors import WEIGHTS, load_parts, read_tensors, write_parts
from toolkit.engine.trainer import Trainer
from toolkit.plan.machine import Machine
from toolkit.plan.plan import make_plan
from toolkit.spec.spec import Spec

STEPS = 3
GPT = {"kind": "gpt", "n_layers": 2, "d_model": 32, "n_heads": 4, "n_kv_heads": 2, "dropout": 0.1}
GPT2 = {"kind": "gpt", "preset": "gpt2", "n_layers": 2, "d_model": 32, "n_heads": 2, "dropout": 0.1}
AGAIN = {"activation_checkpointing": True}
WAYS: list[tuple[dict[str, Any], str, list[dict[str, Any]]]] = [
    (GPT, "adamw", [{"replicate": 2, **AGAIN}, {"tensor": 2, **AGAIN}]),
    (GPT2, "adamw", [{"tensor": 2}]),
    (GPT, "muon", [{}, {"tensor": 2}]),
]
"""A model, its optimizer, and how the work is divided."""
BOUNDS = {"adamw": (1e-6, 1e-5), "muon": (1e-3, 2e-2)}
"""Of losses, relative, and weights. Muon's bfloat16 turns differences of 1e-7 in the gradients into larger ones."""


def trained(model: dict[str, Any], optimizer: str, parallel: dict[str, Any], ranks: Ranks) -> Any:
    """A trainer after some steps, and the losses and gradients' norms on its way."""
    spec = Spec(
        name="mesh",
        data={"sequence_length": 16, "tokenizer": {"kind": "bytes"}},
        model=model,
        objective={"kind": "causal_lm"},
        train={
            "duration": f"{STEPS} steps",
            "batch": "8 rows",
            "clip": 1.0,
            "optimizer": {"kind": optimizer},
        },
        run={"device": "cpu", "precision": "float32", "micro_batch": 2, "parallel": parallel},
    )
    plan = make_plan(spec, machine=Machine.detect())
    tokenizer = Numbers(plan.vocab_size)
    trainer = Trainer(plan, Hardware.of(plan), steps=STEPS, tokenizer=tokenizer, ranks=ranks)
    index, shares = trainer.sharding.data
    rows = made_up(plan)
    results = [trainer.step(step, rows[index::shares]) for step in range(STEPS)]
    means, _ = trainer.evaluate(list(enumerate(rows))[index::shares])
    return trainer, [*(r.loss for r in results), means["loss"]], [r.grad_norm for r in results]


def assert_near(found: Any, expected: Any, bound: float, what: str) -> None:
    away = max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))
    assert away < bound, f"{what}: {away:.1e}"


def check(folder: Path, ranks: Ranks) -> None:
    for model, optimizer, ways in WAYS:
        one, losses, norms = trained(model, optimizer, {}, ALONE)
        for number, way in enumerate(ways):
            what, (near, weight) = f"{optimizer} {way}", BOUNDS[optimizer]
            trainer, *found = trained(model, optimizer, way, ranks)
            assert_near(found[0], losses, near, what)
            assert_near(found[1], norms, 10 * near, what)
            weights = {name: whole(tensor) for name, tensor in trainer.weights().items()}
            for name, expected in one.weights().items():
                assert (weights[name] - expected).abs().max() < weight, f"{what}: {name}"
            check_parts(folder / f"{optimizer}-{model['n_heads']}-{number}", trainer, weights, ranks)


def check_parts(folder: Path, trainer: Trainer, weights: dict[str, Tensor], ranks: Ranks) -> None:
    """The parts that the ranks write make up the whole, and each finds its own in it again."""
    folder.mkdir(exist_ok=True)
    write_parts(folder, WEIGHTS, trainer.weights(), ranks.rank)
    dist.barrier()
    read = read_tensors(folder, WEIGHTS)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in weights.items())
    blank = {name: torch.zeros_like(tensor) for name, tensor in trainer.weights().items()}
    load_parts(folder, WEIGHTS, blank)
    assert all(torch.equal(whole(blank[name]), tensor) for name, tensor in weights.items())


if __name__ == "__main__":
    ranks = Ranks.from_environment()
    ranks.join("mesh")
    check(Path(sys.argv[1]), ranks)
    ranks.leave()
