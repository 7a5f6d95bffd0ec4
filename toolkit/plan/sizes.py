"""Parameters of an architecture, counted exactly from its shapes."""

from pydantic import BaseModel, ConfigDict

from toolkit.spec.model import Architecture


class Parameters(BaseModel):
    """How many numbers are learned, by where they stand; `total` is the sum of the other three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: int
    """Token embeddings, and learned positions where there are any."""
    head: int
    """The output matrix; zero when it is tied to the embedding."""
    non_embedding: int
    """Blocks and final norm."""
    total: int


def count_parameters(arch: Architecture) -> Parameters:
    """Learned parameters of the trunk and its language-model head."""
    embedding = arch.vocab_size * arch.d_model
    head = 0 if arch.tie_embeddings else embedding
    if arch.positions == "learned":
        embedding += arch.max_sequence_length * arch.d_model
    blocks = arch.n_layers * (block_matrices(arch) + block_vectors(arch))
    non_embedding = blocks + norm_parameters(arch)
    return Parameters(
        embedding=embedding, head=head, non_embedding=non_embedding, total=embedding + head + non_embedding
    )


def attention_matrices(arch: Architecture) -> int:
    """Weights of a block's query, key, value and output projections."""
    queries, keys = arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim
    return arch.d_model * (2 * queries + 2 * keys)


def feed_forward_matrices(arch: Architecture) -> int:
    """Weights of a block's feed-forward layer; SwiGLU has a third matrix, the gate."""
    return (3 if arch.activation == "swiglu" else 2) * arch.d_model * arch.d_ff


def block_matrices(arch: Architecture) -> int:
    """The 2-D weights of a block: what Muon takes."""
    return attention_matrices(arch) + feed_forward_matrices(arch)


def block_vectors(arch: Architecture) -> int:
    """The 1-D weights of a block: norms and biases."""
    vectors = 2 * norm_parameters(arch)
    if arch.qk_norm:
        vectors += 2 * arch.head_dim
    if arch.bias:
        gates = 2 if arch.activation == "swiglu" else 1
        vectors += (arch.n_heads + 2 * arch.n_kv_heads) * arch.head_dim + arch.d_model
        vectors += gates * arch.d_ff + arch.d_model
    return vectors


def norm_parameters(arch: Architecture) -> int:
    """Gain of a norm, and LayerNorm's shift where the architecture has biases."""
    return arch.d_model * (2 if arch.norm == "layernorm" and arch.bias else 1)
