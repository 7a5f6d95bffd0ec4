"""Peak memory of a training step, term by term, and the micro-batch that fits.

The terms follow what the modules of `models` keep for the backward pass: parameters are float32 and are
cast to the precision of the products at each use.
"""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from toolkit.plan.machine import Machine, Precision
from toolkit.plan.sizes import block_matrices, count_parameters
from toolkit.spec.architecture import GATED, BlockArchitecture, Norm
from toolkit.spec.model import Architecture, GPTArchitecture
from toolkit.spec.train import Optimizer

FLOAT = 4
"""Bytes of a float32: parameters, gradients, optimizer state."""

PRECISION_BYTES: dict[str, int] = {"bfloat16": 2, "float32": 4}

INDEX = 8
"""Bytes of a token id or a target on its way through the model."""

LOGITS_AT_ONCE = 1 << 21
GPU_LOGITS_AT_ONCE = 1 << 27
"""Logits that the cross-entropy holds at once (`models.cross_entropy`)."""

GPU_STEP = 64
"""Rows to a multiple of which it fills up the head's matrix on a GPU, in a copy."""

ATTENTION_BLOCK = 128
"""Queries of a block of the CPU's bfloat16 attention, which keeps its probabilities (`models.attention`)."""

PLAIN_KEYS = 512
"""Longest rows of an encoder whose probabilities the CPU's bfloat16 attention keeps whole (`models.attention`)."""

CPU_RUNTIME = 410 * 2**20
"""Resident memory of a worker beside its tensors: interpreter, torch and its kernels, tokenizers, threads."""

CUDA_RUNTIME = 32 * 2**20
"""What torch's CUDA allocator holds beside the tensors, cuBLAS's workspace. The context itself, some 500 MiB,
is not the allocator's, and is in the share that a plan leaves free."""

HOLES = 0.33
HOLES_ACCUMULATING = 0.7
"""Memory that glibc's allocator leaves unused, as a share of what a micro-batch makes and frees: temporaries
leave gaps between what is kept. More of them where gradients are kept from one micro-batch to the next.
Fitted to ten shapes from 0.6 to 63 M parameters: their totals come out within 8 %."""

SHARE_OF_MEMORY = 0.8
"""Part of a device's memory that a plan fills: the rest is the system's, and what no formula counts."""

CPU_TOKENS = 4096
"""Most tokens of a micro-batch on a CPU: more fill its memory with activations, beyond its caches."""


class Memory(BaseModel):
    """Bytes at the peak of a step; `total` is the sum of the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: int
    """Parameters in float32."""
    casts: int
    """Copies of the matrices in the precision of the products, held until the backward pass has used them."""
    gradients: int
    """All of them where micro-batches accumulate; else what exceeds the terms that their making frees."""
    optimizer: int
    activations: int
    """What the blocks keep for the backward pass, for all rows of a micro-batch."""
    logits: int
    """One chunk of logits with its gradients, and the head's gradients made beside it."""
    fragmentation: int
    """Gaps in the heap of a CPU's process, which its peak counts and no tensor uses."""
    runtime: int
    """The process beside its tensors; on a GPU the libraries' workspaces."""
    total: int


def estimate_memory(
    arch: Architecture,
    *,
    rows: int,
    sequence_length: int,
    precision: Precision,
    device: str,
    optimizer: Optimizer,
    accumulates: bool = True,
) -> Memory:
    """Peak memory on `device` of training with micro-batches of `rows` rows; with a language-model head, of a GPT.

    Args:
        accumulates: Whether a step has several micro-batches, so that the gradients of the first are
            there while the next one runs.
    """
    parameters = count_parameters(arch).total
    matrices = arch.n_layers * block_matrices(arch)
    tokens = rows * sequence_length
    vocabulary = arch.vocab_size if isinstance(arch, GPTArchitecture) else 0
    return summed(
        parameters=parameters,
        passing={
            "casts": cast_bytes(matrices, precision),
            "activations": tokens * activation_bytes_per_token(arch, sequence_length, precision, device),
            "logits": logit_bytes(vocabulary, arch.d_model, tokens, precision, device),
        },
        optimizer=optimizer_bytes(arch, optimizer, parameters),
        device=device,
        accumulates=accumulates,
    )


def cast_bytes(matrices: int, precision: Precision) -> int:
    """Copies of matrices with so many weights in the precision of the products."""
    size = PRECISION_BYTES[precision]
    return size * matrices if size != FLOAT else 0


def summed(
    *, parameters: int, passing: dict[str, int], optimizer: int, device: str, accumulates: bool
) -> Memory:
    """The terms of a step together: weights, what passes with each micro-batch, gradients and gaps."""
    gradients = FLOAT * parameters
    if not accumulates:
        gradients = max(0, gradients - sum(passing.values()))
    holes, runtime = (HOLES_ACCUMULATING if accumulates else HOLES), CPU_RUNTIME
    if device.startswith("cuda"):
        holes, runtime = 0.0, CUDA_RUNTIME
    terms = {
        "weights": FLOAT * parameters,
        "gradients": gradients,
        "optimizer": optimizer,
        **passing,
        "fragmentation": round(holes * sum(passing.values())),
        "runtime": runtime,
    }
    return Memory(**terms, total=sum(terms.values()))


def optimizer_bytes(arch: BlockArchitecture, optimizer: Optimizer, parameters: int) -> int:
    """AdamW keeps two moments; Muon one momentum of the blocks' matrices, with AdamW for the rest."""
    moments = 2 * parameters
    if optimizer.kind == "muon":
        moments -= arch.n_layers * block_matrices(arch)
    return FLOAT * moments


def activation_bytes_per_token(
    arch: BlockArchitecture, sequence_length: int, precision: Precision, device: str
) -> int:
    """What autograd keeps of the trunk for a token."""
    size = PRECISION_BYTES[precision]
    norm = _norm_bytes(arch.norm, arch.d_model, 1, size)
    mask = 1 if device.startswith("cuda") else size
    dropped = mask * arch.d_model if arch.dropout else 0
    block = (
        2 * norm
        + _attention_bytes(arch, sequence_length, precision, device)
        + _feed_forward_bytes(arch, size)
        + 2 * dropped
    )
    ids, output = 2 * INDEX, size * arch.d_model
    return ids + dropped + arch.n_layers * block + norm + output


def _norm_bytes(norm: Norm, width: int, vectors: int, size: int) -> int:
    """A norm's input and statistics, for `vectors` vectors of `width` numbers together."""
    statistics = 2 * size if norm == "layernorm" else FLOAT
    return size * width + statistics * vectors


def _attention_bytes(arch: BlockArchitecture, sequence_length: int, precision: Precision, device: str) -> int:
    """Input of the projections, queries and keys before their norm, and what the kernel keeps."""
    size = PRECISION_BYTES[precision]
    queries, keys = arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim
    kept = size * arch.d_model
    if arch.qk_norm:
        kept += _norm_bytes("rmsnorm", queries + keys, arch.n_heads + arch.n_kv_heads, size)
    if attention_is_blocked(arch, sequence_length, precision, device):
        # Queries, keys and values of as many heads, and the output; the probabilities of every block.
        kept += size * (4 * queries + arch.n_heads * _probabilities_per_query(sequence_length))
    elif attention_is_plain(arch, sequence_length, precision, device):
        kept += size * (4 * queries + arch.n_heads * sequence_length)
    elif arch.dropout and not device.startswith("cuda"):
        # No fused kernel: all in float32, with the probabilities before and after dropout and its mask.
        kept += FLOAT * (3 * queries + 3 * arch.n_heads * sequence_length) + size * queries
    else:
        kept += size * (2 * queries + 2 * keys) + FLOAT * arch.n_heads  # and the logarithm of each sum
    return kept


def attention_is_blocked(
    arch: BlockArchitecture, sequence_length: int, precision: Precision, device: str
) -> bool:
    """Whether `models.attention` splits the rows into blocks of queries."""
    causal = isinstance(arch, GPTArchitecture)
    fits = causal and device == "cpu" and precision == "bfloat16" and not arch.dropout
    return fits and sequence_length >= 2 * ATTENTION_BLOCK


def attention_is_plain(
    arch: BlockArchitecture, sequence_length: int, precision: Precision, device: str
) -> bool:
    """Whether `models.attention` keeps the probabilities of an encoder's short rows."""
    fits = device == "cpu" and precision == "bfloat16" and not arch.dropout
    return fits and not isinstance(arch, GPTArchitecture) and sequence_length <= PLAIN_KEYS


def _probabilities_per_query(sequence_length: int) -> int:
    """Keys of a query's block, on average: each block of queries keeps its whole prefix."""
    total = 0
    for start in range(0, sequence_length, ATTENTION_BLOCK):
        end = min(start + ATTENTION_BLOCK, sequence_length)
        total += (end - start) * end
    return -(-total // sequence_length)


def _feed_forward_bytes(arch: BlockArchitecture, size: int) -> int:
    """Input, hidden values before and after the activation; where gated, the gate before and after, values, product."""
    hidden = 4 if arch.activation in GATED else 2
    return size * (arch.d_model + hidden * arch.d_ff)


def logit_bytes(vocab_size: int, d_model: int, tokens: int, precision: Precision, device: str) -> int:
    """The loss: a chunk of logits, gradients of the hidden states, and those of the head's matrix.

    The larger of two moments: the softmax of a chunk, while what is left of the chunk before is still held,
    and the sum of the head's gradients, while the product and its float32 form are.
    """
    size = PRECISION_BYTES[precision]
    gpu = device.startswith("cuda")
    cast = size if size != FLOAT or (gpu and vocab_size % GPU_STEP) else 0
    logits = tokens * vocab_size
    most = GPU_LOGITS_AT_ONCE if gpu else LOGITS_AT_ONCE
    chunk = min(logits, max(most, vocab_size))
    second = min(logits - chunk, chunk)
    head = vocab_size * d_model
    softmax = (FLOAT + cast) * head + max(
        (2 * FLOAT + cast) * chunk, (2 * FLOAT + cast) * second + (FLOAT + cast) * chunk
    )
    gradient = 2 * FLOAT * chunk + (2 * FLOAT + 2 * cast) * head
    return max(softmax, gradient) + size * tokens * d_model


def choose_micro_batch(
    memory: Callable[[int], Memory],
    *,
    batch_rows: int,
    sequence_length: int,
    device: str,
    machine: Machine,
    whole: bool = False,
    shares: int = 1,
) -> int:
    """Rows computed at once: as many as fit, a divisor of the batch where one is near; all of a `whole` batch.

    On a CPU no more than `CPU_TOKENS` tokens, whatever the memory. At least one row,
    also where one does not fit: the plan then warns. `memory` tells what so many rows take. Each of `shares` ranks
    gets as many micro-batches as the others where that can be, and some in any case, if there are rows enough.
    """
    limit = batch_rows
    if whole:
        return limit
    if not device.startswith("cuda"):
        limit = min(limit, max(1, CPU_TOKENS // sequence_length))
    free = SHARE_OF_MEMORY * machine.memory_of(device)
    if memory(limit).total > free > 0:
        fitting, too_large = 0, limit
        while too_large - fitting > 1:
            middle = (fitting + too_large) // 2
            fitting, too_large = (middle, too_large) if memory(middle).total <= free else (fitting, middle)
        limit = max(1, fitting)
    if shares > 1:
        turns = -(-batch_rows // (shares * limit))
        even = -(-batch_rows // (shares * turns))
        return even if -(-batch_rows // even) >= shares else max(1, batch_rows // shares)
    divisor = max(rows for rows in range(1, limit + 1) if batch_rows % rows == 0)
    power = 1 << (limit.bit_length() - 1)
    return divisor if 2 * divisor >= limit else power
