"""Peak memory of a training step, term by term, and the micro-batch that fits.

Every byte count of the project is in this file. The terms follow what the modules of `models` keep for
the backward pass: parameters are float32 and are cast to the precision of the products at each use.
"""

from pydantic import BaseModel, ConfigDict

from toolkit.plan.machine import Machine, Precision
from toolkit.plan.sizes import block_matrices, count_parameters
from toolkit.spec.model import Architecture
from toolkit.spec.train import Optimizer

FLOAT = 4
"""Bytes of a float32: parameters, gradients, optimizer state."""

PRECISION_BYTES: dict[str, int] = {"bfloat16": 2, "float32": 4}

LOGITS_AT_ONCE = 1 << 22
"""Logits that the cross-entropy holds at once (`models.cross_entropy`)."""

ATTENTION_BLOCK = 128
"""Queries of a block of the CPU's bfloat16 attention, which keeps its probabilities (`models.attention`)."""

CPU_RUNTIME = 400 * 2**20
"""Resident memory of a worker before the model is built: interpreter, torch, tokenizers, their threads."""

CUDA_RUNTIME = 600 * 2**20
"""Device memory of a CUDA context and its libraries' workspaces."""

SHARE_OF_MEMORY = 0.8
"""Part of a device's memory that a plan fills: the rest is the system's, and what no formula counts."""

CPU_TOKENS = 8192
"""Tokens of a micro-batch beyond which a CPU gains nothing: activations then leave its caches."""


class Memory(BaseModel):
    """Bytes at the peak of a step; `total` is the sum of the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: int
    """Parameters in float32."""
    casts: int
    """Copies of the matrices in the precision of the products, held until the backward pass has used them."""
    gradients: int
    optimizer: int
    activations: int
    """What the blocks keep for the backward pass, for all rows of a micro-batch."""
    logits: int
    """One chunk of logits with its gradients, and the head's gradients made beside it."""
    runtime: int
    """The process before it builds a model."""
    total: int


def estimate_memory(
    arch: Architecture,
    *,
    rows: int,
    sequence_length: int,
    precision: Precision,
    device: str,
    optimizer: Optimizer,
) -> Memory:
    """Peak memory on `device` of training with micro-batches of `rows` rows."""
    size = PRECISION_BYTES[precision]
    parameters = count_parameters(arch).total
    matrices = arch.n_layers * block_matrices(arch)
    tokens = rows * sequence_length
    terms = {
        "weights": FLOAT * parameters,
        "casts": size * matrices if size != FLOAT else 0,
        "gradients": FLOAT * parameters,
        "optimizer": optimizer_bytes(arch, optimizer),
        "activations": tokens * activation_bytes_per_token(arch, sequence_length, precision, device),
        "logits": logit_bytes(arch, tokens, precision),
        "runtime": CUDA_RUNTIME if device.startswith("cuda") else CPU_RUNTIME,
    }
    return Memory(**terms, total=sum(terms.values()))


def optimizer_bytes(arch: Architecture, optimizer: Optimizer) -> int:
    """AdamW keeps two moments; Muon one momentum of the blocks' matrices, with AdamW for the rest."""
    parameters = count_parameters(arch).total
    moments = 2 * parameters
    if optimizer.kind == "muon":
        moments -= arch.n_layers * block_matrices(arch)
    return FLOAT * moments


def activation_bytes_per_token(
    arch: Architecture, sequence_length: int, precision: Precision, device: str
) -> int:
    """What autograd keeps of the trunk for a token."""
    size = PRECISION_BYTES[precision]
    block = (
        _norm_bytes(arch, arch.d_model, size)
        + _attention_bytes(arch, sequence_length, precision, device)
        + _norm_bytes(arch, arch.d_model, size)
        + _feed_forward_bytes(arch, size)
    )
    final = _norm_bytes(arch, arch.d_model, size) + size * arch.d_model
    ids = 8 * 2
    return arch.n_layers * block + final + ids


def _norm_bytes(arch: Architecture, width: int, size: int) -> int:
    """A norm's input and its statistics in float32."""
    statistics = FLOAT * (2 if arch.norm == "layernorm" else 1)
    return size * width + statistics


def _attention_bytes(arch: Architecture, sequence_length: int, precision: Precision, device: str) -> int:
    """Inputs of the projections, queries, keys and values at each stage, and what the kernel keeps."""
    size = PRECISION_BYTES[precision]
    queries, keys = arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim
    kept = size * arch.d_model  # input of the three projections
    if arch.qk_norm:
        kept += size * (queries + keys) + FLOAT * (arch.n_heads + arch.n_kv_heads)
    kept += size * (queries + 2 * keys)  # what the kernel reads
    kept += size * queries  # its output, which the output projection reads
    if arch.dropout:
        kept += 2 * size * arch.n_heads * sequence_length + size * arch.d_model
    elif _attention_is_blocked(sequence_length, precision, device):
        kept += size * queries  # scaled queries
        kept += size * arch.n_heads * _probabilities_per_query(sequence_length)
    else:
        kept += FLOAT * arch.n_heads  # log of the sum of a query's scores
    return kept


def _attention_is_blocked(sequence_length: int, precision: Precision, device: str) -> bool:
    return device == "cpu" and precision == "bfloat16" and sequence_length >= 2 * ATTENTION_BLOCK


def _probabilities_per_query(sequence_length: int) -> int:
    """Keys of a query's block, on average: each block of queries keeps its whole prefix."""
    total = 0
    for start in range(0, sequence_length, ATTENTION_BLOCK):
        end = min(start + ATTENTION_BLOCK, sequence_length)
        total += (end - start) * end
    return -(-total // sequence_length)


def _feed_forward_bytes(arch: Architecture, size: int) -> int:
    """Input, hidden values before and after the activation; SwiGLU's gate and its product besides."""
    hidden = 4 if arch.activation == "swiglu" else 2
    return size * (arch.d_model + hidden * arch.d_ff) + (size * arch.d_model if arch.dropout else 0)


def logit_bytes(arch: Architecture, tokens: int, precision: Precision) -> int:
    """One chunk of logits, their log-probabilities in float32 and gradients, and the head's own gradients."""
    size = PRECISION_BYTES[precision]
    chunk = min(tokens, max(64, LOGITS_AT_ONCE // arch.vocab_size)) * arch.vocab_size
    per_logit = 2 * size + FLOAT + (2 * FLOAT if arch.logit_softcap else 0)
    weight = arch.vocab_size * arch.d_model
    return chunk * per_logit + weight * (FLOAT + 2 * size) + size * tokens * arch.d_model


def choose_micro_batch(
    arch: Architecture,
    *,
    batch_rows: int,
    sequence_length: int,
    precision: Precision,
    device: str,
    optimizer: Optimizer,
    machine: Machine,
) -> int:
    """Rows computed at once: as many as fit, a divisor of the batch where one is near.

    On a CPU no more than `CPU_TOKENS` tokens, as larger micro-batches bring no speed there. At least one,
    also where one does not fit: the plan then warns.
    """
    limit = batch_rows
    if not device.startswith("cuda"):
        limit = min(limit, max(1, CPU_TOKENS // sequence_length))

    def total(rows: int) -> int:
        return estimate_memory(
            arch,
            rows=rows,
            sequence_length=sequence_length,
            precision=precision,
            device=device,
            optimizer=optimizer,
        ).total

    free = SHARE_OF_MEMORY * machine.memory_of(device)
    if total(limit) > free > 0:
        fitting, too_large = 0, limit
        while too_large - fitting > 1:
            middle = (fitting + too_large) // 2
            fitting, too_large = (middle, too_large) if total(middle) <= free else (fitting, middle)
        limit = max(1, fitting)
    divisor = max(rows for rows in range(1, limit + 1) if batch_rows % rows == 0)
    power = 1 << (limit.bit_length() - 1)
    return divisor if 2 * divisor >= limit else power
