"""The transformer block: pre-norm attention and feed-forward on a residual stream."""

import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.activations import gelu, gelu_erf, relu2
from toolkit.models.attention import attend
from toolkit.models.cache import KVCache
from toolkit.models.linear import Linear
from toolkit.models.norms import RMSNorm, build_norm
from toolkit.models.positions import Rotation, rotate
from toolkit.spec.architecture import GATED, BlockArchitecture


class Attention(nn.Module):
    """Self-attention with grouped query heads (Ainslie 2023), rotary positions and QK-norm as `arch` asks.

    Query, key and value projections are separate matrices: Muon orthogonalises each for itself.
    """

    def __init__(self, arch: BlockArchitecture, layer: int, *, causal: bool) -> None:
        super().__init__()
        self.layer = layer
        self.causal = causal
        self.reach: int | None = None
        """Positions on either side that a position sees, where the caller's mask hides the others."""
        self.share = (0, 1)
        """(index, number): which of several equal shares of the heads `q`, `k`, `v` and `out` hold here."""
        self.n_heads, self.head_dim = arch.n_heads, arch.head_dim
        self.dropout = arch.dropout
        d_q, d_kv = arch.n_heads * arch.head_dim, arch.n_kv_heads * arch.head_dim
        self.q = Linear(arch.d_model, d_q, bias=arch.bias)
        self.k = Linear(arch.d_model, d_kv, bias=arch.bias)
        self.v = Linear(arch.d_model, d_kv, bias=arch.bias)
        self.out = Linear(d_q, arch.d_model, bias=arch.bias)
        self.q_norm = RMSNorm(arch.head_dim, arch.norm_eps) if arch.qk_norm else None
        self.k_norm = RMSNorm(arch.head_dim, arch.norm_eps) if arch.qk_norm else None

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(batch, sequence, d_model) to the same shape. `mask` is that of `attend`."""
        batch, length, _ = x.shape
        heads = (batch, length, -1, self.head_dim)
        q, k, v = self.q(x).view(heads), self.k(x).view(heads), self.v(x).view(heads)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(q, k, v, causal=self.causal, mask=mask, dropout=dropout, share=self.share)
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return F.dropout(y, self.dropout, self.training) if self.dropout else y


class FeedForward(nn.Module):
    """Two matrices around GELU or ReLU² (So 2021), or three for SwiGLU and GeGLU (Shazeer 2020)."""

    def __init__(self, arch: BlockArchitecture) -> None:
        super().__init__()
        self.activation = arch.activation
        self.dropout = arch.dropout
        gated = arch.activation in GATED
        self.gate = Linear(arch.d_model, arch.d_ff, bias=arch.bias) if gated else None
        self.up = Linear(arch.d_model, arch.d_ff, bias=arch.bias)
        self.down = Linear(arch.d_ff, arch.d_model, bias=arch.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) to the same shape."""
        h: Tensor = self.up(x)
        if self.gate is not None:
            gate: Tensor = self.gate(x)
            h = (F.silu(gate) if self.activation == "swiglu" else gelu_erf(gate)) * h
        elif self.activation == "relu2":
            h = relu2(h)
        else:
            h = gelu(h) if self.activation == "gelu" else gelu_erf(h)
        y: Tensor = self.down(h)
        return F.dropout(y, self.dropout, self.training) if self.dropout else y


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)). `causal=False` makes an encoder's block."""

    def __init__(self, arch: BlockArchitecture, layer: int, *, causal: bool = True) -> None:
        super().__init__()
        self.attention_norm = build_norm(arch)
        self.attention = Attention(arch, layer, causal=causal)
        self.feed_forward_norm = build_norm(arch)
        self.feed_forward = FeedForward(arch)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(batch, sequence, d_model) to the same shape. `mask` is that of `attend`."""
        x = x + self.attention(self.attention_norm(x), rotation, cache, mask)
        y: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return y


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + feed_forward(x)): an encoder's block as BERT has it."""

    def __init__(self, arch: BlockArchitecture, layer: int) -> None:
        super().__init__()
        self.attention = Attention(arch, layer, causal=False)
        self.attention_norm = build_norm(arch)
        self.feed_forward = FeedForward(arch)
        self.feed_forward_norm = build_norm(arch)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, sequence, d_model) to the same shape. `mask` is that of `attend`."""
        x = self.attention_norm(x + self.attention(x, mask=mask))
        y: Tensor = self.feed_forward_norm(x + self.feed_forward(x))
        return y
