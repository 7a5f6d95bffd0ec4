"""Floating-point operations of a step, counted from the shapes; a multiply-add is two."""

from toolkit.plan.sizes import block_matrices, neck_parameters
from toolkit.spec.architecture import BlockArchitecture
from toolkit.spec.model import Architecture, GPTArchitecture, ModernBERTArchitecture, ViTArchitecture
from toolkit.spec.tune import HeadTune, LoraTune, TopTune, Tune

BACKWARD_PER_FORWARD = 2
"""The backward pass multiplies each matrix twice: by the inputs and by the gradients (Kaplan 2020)."""


def forward_flops_per_token(arch: Architecture, sequence_length: int) -> float:
    """Operations of the forward pass for a token of a row of `sequence_length` tokens, the average one.

    Counts every matrix product: projections, feed-forward, attention, patches, and of a GPT the output head (tied
    or not). Embedding look-ups, norms and activations are left out: together they are a few per mille.
    """
    matrices = float(arch.n_layers * block_matrices(arch))
    if isinstance(arch, GPTArchitecture):
        matrices += arch.vocab_size * arch.d_model
    if isinstance(arch, ViTArchitecture):
        matrices += arch.patch_values * arch.d_model * arch.n_patches / arch.max_sequence_length
    layers = [attention_flops_per_token(arch, sequence_length, layer) for layer in range(arch.n_layers)]
    return 2 * matrices + sum(layers)


def attention_flops_per_token(arch: BlockArchitecture, sequence_length: int, layer: int = 0) -> float:
    """Scores and weighted values of a block, for the keys that a token sees on average.

    Causal: (sequence_length + 1) / 2; local: those in the window, of which the row's ends have fewer.
    """
    reach = sequence_length - 1
    if isinstance(arch, ModernBERTArchitecture) and arch.is_local(layer):
        reach = min(reach, arch.window // 2)
    seen = 1 + 2 * reach - reach * (reach + 1) / sequence_length
    if isinstance(arch, GPTArchitecture):
        seen = (sequence_length + 1) / 2
    return 2 * 2 * arch.n_heads * arch.head_dim * seen


def own_head_flops(
    arch: Architecture, outputs: int, sequence_length: int, *, surprisal: bool = False
) -> float:
    """What changes for a token when a head of `outputs` on one vector a row replaces the language-model head, or
    (`surprisal`) of an encoder stands beside it."""
    replaced = arch.vocab_size if isinstance(arch, GPTArchitecture) else 0  # others are counted without one
    own = arch.d_model * outputs + neck_parameters(arch)
    read = arch.vocab_size + arch.d_model if surprisal else 0
    return 2 * (own / sequence_length + arch.d_model * (read - replaced)) if outputs else 0.0


def training_factor(tune: Tune | None, n_layers: int) -> float:
    """Operations of a training step over those of its forward pass, by what moves.

    Frozen matrices need no gradient of their own, and what is below the lowest weight that moves none at all.
    """
    match tune:
        case HeadTune():
            return 1.0
        case LoraTune():
            return 2.0
        case TopTune():
            return 1 + BACKWARD_PER_FORWARD * min(tune.blocks, n_layers) / n_layers
        case _:
            return 1.0 + BACKWARD_PER_FORWARD
