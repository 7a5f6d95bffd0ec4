"""What an objective puts on the trunk, and how much of a row the trunk reads for it: parameters, FLOPs, memory."""

from typing import NamedTuple

from toolkit.plan.flops import attention_flops_per_token, forward_flops_per_token
from toolkit.plan.machine import Precision
from toolkit.plan.memory import (
    FLOAT,
    PRECISION_BYTES,
    Memory,
    activation_bytes_per_token,
    cast_bytes,
    estimate_memory,
    logit_bytes,
    optimizer_bytes,
    summed,
)
from toolkit.plan.sizes import Parameters, block_matrices, block_vectors, count_parameters, norm_parameters
from toolkit.spec.architecture import BlockArchitecture
from toolkit.spec.model import Architecture, GPTArchitecture, ViTArchitecture
from toolkit.spec.objective import Contrastive, MaskedImage, MaskedLM, Objective, RotationObjective
from toolkit.spec.train import Optimizer

TURNS, VIEWS = 4, 2
"""Copies of an image that `rotation` and `contrastive` read."""


class Load(NamedTuple):
    """What a row of an objective takes beside the trunk's weights."""

    passes: int
    """Times that the trunk reads a row."""
    positions: int
    """Positions of a row that it reads each time, the class token and registers included."""
    head: int
    """Parameters of what stands on the trunk; the language-model head, which the trunk's count has, aside."""
    head_flops: float
    """Forward, a row."""
    decoder: BlockArchitecture | None = None
    """Blocks of the head, over all positions."""
    predicted: float = 0.0
    """Tokens of a row whose logits are computed."""
    pixels: int = 0
    """Values that a pass of the trunk reads of a row, and the loss compares."""


def load_of(arch: Architecture, objective: Objective, length: int) -> Load:
    """The load of a row of `length` positions."""
    width = arch.d_model
    if not isinstance(arch, ViTArchitecture):
        if not isinstance(objective, MaskedLM):
            return Load(1, length, 0, 0.0, predicted=length)
        predicted = objective.share * length
        return Load(1, length, 0, predicted * 2 * width * (width + arch.vocab_size), predicted=predicted)
    values, patches, positions = arch.patch_values, arch.n_patches, arch.max_sequence_length
    pixels = values * patches
    match objective:
        case RotationObjective():
            return Load(TURNS, positions, TURNS * (width + 1), TURNS * 2 * width * TURNS, pixels=pixels)
        case Contrastive():
            matrices = objective.hidden * (width + objective.outputs)
            head = matrices + 2 * objective.hidden
            return Load(VIEWS, positions, head, VIEWS * 2 * matrices, pixels=pixels)
        case MaskedImage():
            hidden = min(max(1, round(objective.share * patches)), patches - 1)
            if objective.method == "simmim":
                head = width + values * (width + 1)
                return Load(1, positions, head, hidden * 2 * width * values, pixels=pixels)
            blocks = objective.decoder.blocks
            narrow, visible = blocks.d_model, patches - hidden
            each = block_matrices(blocks) + block_vectors(blocks)
            head = narrow * (width + 1) + narrow + blocks.n_layers * each
            head += norm_parameters(blocks) + values * (narrow + 1)
            attention = attention_flops_per_token(blocks, positions)
            work = positions * blocks.n_layers * (2 * block_matrices(blocks) + attention)
            work += (arch.n_prefix + visible) * 2 * width * narrow + hidden * 2 * narrow * values
            return Load(1, arch.n_prefix + visible, head, work, blocks, pixels=values * visible)
    raise ValueError(f"{objective.kind} does not train a {arch.kind}")


def objective_parameters(arch: Architecture, objective: Objective) -> Parameters:
    """Parameters of the trunk with what the objective puts on it."""
    count, own = count_parameters(arch), load_of(arch, objective, 1).head
    return count.model_copy(update={"head": count.head + own, "total": count.total + own})


def objective_flops(arch: Architecture, objective: Objective, length: int) -> float:
    """Operations of the forward pass over a row of `length` positions."""
    load = load_of(arch, objective, length)
    if not isinstance(arch, ViTArchitecture):
        return length * forward_flops_per_token(arch, length) + load.head_flops
    n = load.positions
    blocks = arch.n_layers * (2 * block_matrices(arch) + attention_flops_per_token(arch, n))
    return load.passes * (n * blocks + 2 * load.pixels * arch.d_model) + load.head_flops


def objective_memory(
    arch: Architecture,
    objective: Objective,
    *,
    rows: int,
    sequence_length: int,
    precision: Precision,
    device: str,
    optimizer: Optimizer,
    accumulates: bool,
) -> Memory:
    """Peak memory of a training step with micro-batches of `rows` rows."""
    if isinstance(arch, GPTArchitecture):
        return estimate_memory(
            arch,
            rows=rows,
            sequence_length=sequence_length,
            precision=precision,
            device=device,
            optimizer=optimizer,
            accumulates=accumulates,
        )
    load, size = load_of(arch, objective, sequence_length), PRECISION_BYTES[precision]
    parameters = objective_parameters(arch, objective).total
    read = rows * load.passes
    activations = read * load.positions * activation_bytes_per_token(arch, load.positions, precision, device)
    matrices = arch.n_layers * block_matrices(arch)
    if load.decoder is not None:
        positions = arch.max_sequence_length
        each = activation_bytes_per_token(load.decoder, positions, precision, device)
        activations += rows * positions * each
        matrices += load.decoder.n_layers * block_matrices(load.decoder)
    logits = 0
    if isinstance(arch, ViTArchitecture):
        # Patches before they are embedded; and pixels in float32, augmented or to be compared with.
        activations += read * load.pixels * (size + FLOAT)
    else:
        tokens = round(rows * load.predicted)
        # Of the head's own layer: its input, what it gives, and both sides of the norm.
        activations += tokens * arch.d_model * 4 * size
        logits = logit_bytes(arch.vocab_size, arch.d_model, tokens, precision, device)
    return summed(
        parameters=parameters,
        passing={"casts": cast_bytes(matrices, precision), "activations": activations, "logits": logits},
        optimizer=optimizer_bytes(arch, optimizer, parameters),
        device=device,
        accumulates=accumulates,
    )
