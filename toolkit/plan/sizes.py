"""Parameters of an architecture, counted exactly from its shapes."""

from pydantic import BaseModel, ConfigDict

from toolkit.spec.architecture import GATED, BlockArchitecture
from toolkit.spec.model import (
    Architecture,
    BERTArchitecture,
    GPTArchitecture,
    ModernBERTArchitecture,
    ViTArchitecture,
)


class Parameters(BaseModel):
    """How many numbers are learned, by where they stand; `total` is the sum of the other three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: int
    """Embeddings of tokens or patches, and learned positions where there are any."""
    head: int
    """What stands on the trunk; zero for an output matrix that is tied to the embedding."""
    non_embedding: int
    """Blocks and final norm; and the parent's own head where a fine-tune reads it, which stays as it is."""
    total: int


def count_parameters(arch: Architecture) -> Parameters:
    """Learned parameters of the trunk and its language-model head, where it has one."""
    blocks = arch.n_layers * (block_matrices(arch) + block_vectors(arch))
    norm, width, head = norm_parameters(arch), arch.d_model, 0
    match arch:
        case GPTArchitecture():
            embedding = arch.vocab_size * width
            head = 0 if arch.tie_embeddings else embedding
            if arch.positions == "learned":
                embedding += arch.max_sequence_length * width
            blocks += norm
        case BERTArchitecture():
            embedding = (arch.vocab_size + arch.max_sequence_length + arch.n_segments) * width + norm
            head = masked_head_parameters(arch)
        case ModernBERTArchitecture():
            embedding = arch.vocab_size * width + norm
            head = masked_head_parameters(
                arch
            )  # the first block has no norm before attention, but a last one
        case ViTArchitecture():
            positions = arch.class_token + arch.n_patches if arch.positions == "learned" else 0
            embedding = (arch.patch_values + 1 + arch.n_prefix + positions) * width
            blocks += norm
    return Parameters(embedding=embedding, head=head, non_embedding=blocks, total=embedding + head + blocks)


def masked_head_parameters(arch: BERTArchitecture | ModernBERTArchitecture) -> int:
    """A layer with its norm, and a bias for each token; the matrix is the embedding's."""
    return arch.d_model * (arch.d_model + arch.bias) + norm_parameters(arch) + arch.vocab_size


def neck_parameters(arch: Architecture) -> int:
    """What `head = "family"` has between the trunk and a supervised output: a layer, and ModernBERT's norm."""
    if isinstance(arch, GPTArchitecture) or arch.head == "linear":
        return 0
    layer = arch.d_model * (arch.d_model + arch.bias)
    return layer + (norm_parameters(arch) if arch.kind == "modernbert" else 0)


def attention_matrices(arch: BlockArchitecture) -> int:
    """Weights of a block's query, key, value and output projections."""
    queries, keys = arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim
    return arch.d_model * (2 * queries + 2 * keys)


def feed_forward_matrices(arch: BlockArchitecture) -> int:
    """Weights of a block's feed-forward layer; SwiGLU and GeGLU have a third matrix, the gate."""
    return (3 if arch.activation in GATED else 2) * arch.d_model * arch.d_ff


def block_matrices(arch: BlockArchitecture) -> int:
    """The 2-D weights of a block: what Muon takes."""
    return attention_matrices(arch) + feed_forward_matrices(arch)


def block_vectors(arch: BlockArchitecture) -> int:
    """The 1-D weights of a block: norms and biases."""
    vectors = 2 * norm_parameters(arch)
    if arch.qk_norm:
        vectors += 2 * arch.head_dim
    if arch.bias:
        gates = 2 if arch.activation in GATED else 1
        vectors += (arch.n_heads + 2 * arch.n_kv_heads) * arch.head_dim + arch.d_model
        vectors += gates * arch.d_ff + arch.d_model
    return vectors


def norm_parameters(arch: BlockArchitecture) -> int:
    """Gain of a norm, and LayerNorm's shift where the architecture has biases."""
    return arch.d_model * (2 if arch.norm == "layernorm" and arch.bias else 1)
