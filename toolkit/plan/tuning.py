"""What a fine-tune holds: the parameters that move, and the memory that this takes."""

from toolkit.plan.machine import Precision
from toolkit.plan.memory import FLOAT, Memory, estimate_memory, logit_bytes
from toolkit.plan.sizes import (
    Parameters,
    block_matrices,
    block_vectors,
    count_parameters,
    neck_parameters,
    norm_parameters,
)
from toolkit.spec.model import Architecture
from toolkit.spec.train import Optimizer
from toolkit.spec.tune import HeadTune, LoraTune, TopTune, Tune

REPORTS = 120 * 2**20
"""Resident memory of the libraries that score and draw an evaluation: scikit-learn, SciPy, Matplotlib."""
KERNELS = {"bfloat16": 140 * 2**20, "float32": 80 * 2**20}
"""What a CPU's process keeps of the many lengths of labelled rows: kernels compiled for their shapes, and gaps between
tensors of other sizes. With it seven runs from 1 to 6 M parameters come out within 10 %."""


def task_parameters(arch: Architecture, outputs: int | None, *, surprisal: bool = False) -> Parameters:
    """Parameters of the trunk with a head of `outputs`; None or 0 for the language-model head. `surprisal` keeps that
    one too."""
    count = count_parameters(arch)
    if not outputs:
        return count
    head = outputs * arch.d_model + neck_parameters(arch)
    still = count.non_embedding + (count.head if surprisal else 0)
    total = count.embedding + still + head
    return count.model_copy(update={"head": head, "non_embedding": still, "total": total})


def trainable_parameters(arch: Architecture, tune: Tune | None, parameters: Parameters) -> int:
    """How many of them move."""
    match tune:
        case HeadTune():
            return parameters.head
        case TopTune():
            blocks = min(tune.blocks, arch.n_layers) * (block_matrices(arch) + block_vectors(arch))
            return blocks + norm_parameters(arch) + parameters.head
        case LoraTune():
            return arch.n_layers * lora_parameters(arch, tune) + parameters.head
        case _:
            return parameters.total


def lora_parameters(arch: Architecture, tune: LoraTune) -> int:
    """Of the updates of one block: rank times the inputs and outputs of each matrix."""
    queries, keys = arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim
    shapes = {
        "q": (arch.d_model, queries),
        "k": (arch.d_model, keys),
        "v": (arch.d_model, keys),
        "out": (queries, arch.d_model),
        "up": (arch.d_model, arch.d_ff),
        "down": (arch.d_ff, arch.d_model),
    }
    if arch.activation in ("swiglu", "geglu"):
        shapes["gate"] = (arch.d_model, arch.d_ff)
    return sum(tune.rank * sum(shapes[name]) for name in tune.projections if name in shapes)


def tuned_memory(
    arch: Architecture,
    tune: Tune | None,
    outputs: int | None,
    *,
    surprisal: bool,
    rows: int,
    sequence_length: int,
    precision: Precision,
    device: str,
    optimizer: Optimizer,
    accumulates: bool,
) -> Memory:
    """Peak memory of a training step in which only a part may move.

    Frozen weights have no gradient and no optimizer state; below the lowest weight that moves nothing is kept
    for the backward pass.
    """
    memory = estimate_memory(
        arch,
        rows=rows,
        sequence_length=sequence_length,
        precision=precision,
        device=device,
        optimizer=optimizer,
        accumulates=accumulates,
    )
    if tune is None:
        return memory
    before, parameters = count_parameters(arch), task_parameters(arch, outputs, surprisal=surprisal)
    moving = trainable_parameters(arch, tune, parameters)
    share = moving / before.total
    kept = {"head": 0.0, "top": min(getattr(tune, "blocks", 0), arch.n_layers) / arch.n_layers}.get(
        tune.kind, 1.0
    )
    passing = {
        "casts": round(memory.casts * (1.0 if kept else 0.0)),
        "activations": round(memory.activations * kept),
        "logits": FLOAT * rows * outputs if outputs else memory.logits,
    }
    if surprisal:  # its logits take no more than those of a loss
        passing["logits"] += logit_bytes(
            arch.vocab_size, arch.d_model, rows * sequence_length, precision, device
        )
    ratio = sum(passing.values()) / max(memory.casts + memory.activations + memory.logits, 1)
    terms = {
        "weights": FLOAT
        * (parameters.total + (moving - parameters.head if isinstance(tune, LoraTune) else 0)),
        "gradients": round(memory.gradients * share),
        "optimizer": round(memory.optimizer * share),
        **passing,
        "fragmentation": round(memory.fragmentation * ratio),
        "runtime": memory.runtime + (0 if device.startswith("cuda") else REPORTS + KERNELS[precision]),
    }
    return Memory(**terms, total=sum(terms.values()))
