"""Scaled dot-product attention (Vaswani 2017): PyTorch's kernels on accelerators, query blocks on CPUs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 128
"""Queries of a block on CPUs; below twice as many tokens a split brings nothing."""

PLAIN_KEYS = 512
"""Most keys for which an encoder's probabilities are kept whole on CPUs."""


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Softmax(q k^T / sqrt(head_dim)) v.

    `q` is (batch, heads, queries, head_dim); `k` and `v` are (batch, kv_heads, keys, head_dim), where
    kv_heads divides heads (grouped queries, Ainslie 2023). Causal attention is aligned to the end: with
    fewer queries than keys, the last query sees every key. `dropout` acts on the attention weights whenever
    it is above zero. `mask`, which broadcasts to (batch, heads, queries, keys), is true where a query may see
    a key; without `causal` only. `share`, (index, number), tells which of several equal shares of a layer's heads
    these are: dropout draws for all of them. Returns (batch, heads, queries, head_dim).
    """
    queries, keys = q.shape[2], k.shape[2]
    groups = q.shape[1] // k.shape[1]
    square = queries == keys
    on_cpu = q.device.type == "cpu" and q.dtype == torch.bfloat16
    if on_cpu and causal and square and queries >= 2 * BLOCK and dropout == 0.0:
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out: Tensor = _BlockedCausal.apply(q, k, v)  # type: ignore[no-untyped-call]
        return out
    if on_cpu and not causal and dropout == 0.0 and keys <= PLAIN_KEYS and groups == 1:
        return _plain(q, k, v, mask)
    if causal and 1 < queries < keys:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril_(keys - queries)
    if dropout and share[1] > 1:
        return _shared_dropout(q, k, v, causal and square, mask, dropout, share)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal and square, enable_gqa=groups > 1
    )


def _shared_dropout(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    mask: Tensor | None,
    dropout: float,
    share: tuple[int, int],
) -> Tensor:
    """Dropout as the CPU's kernel draws it for all heads, of which these are a share: the weights dropped do not
    depend on the number of shares, and the generator is left in the same state by each."""
    batch, heads, queries, head_dim = q.shape
    groups, (index, number) = heads // k.shape[1], share
    wide = torch.promote_types(q.dtype, torch.float32)
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = (q.to(wide) * head_dim**-0.5) @ k.to(wide).transpose(-1, -2)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril_()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    drawn = scores.new_empty(batch, heads * number, queries, k.shape[2]).bernoulli_(1 - dropout)
    kept = drawn[:, index * heads : (index + 1) * heads] / (1 - dropout)
    mixed: Tensor = scores.softmax(-1) * kept @ v.to(wide)
    return mixed.to(q.dtype)


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Three operations in bfloat16 throughout: half of the time of PyTorch's kernel for short rows."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    mixed: Tensor = scores.softmax(-1) @ v
    return mixed


class _BlockedCausal(torch.autograd.Function):
    """Causal attention by blocks of queries, each against its own prefix only.

    PyTorch's CPU kernel computes the whole square and converts bfloat16 to and fro; skipping most of the
    upper triangle and staying in bfloat16 takes about half of its time for rows of 256 to 1024 tokens.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length, head_dim = q.shape[-2:]
        q = q * head_dim**-0.5
        mask = torch.full((BLOCK, BLOCK), float("-inf"), dtype=q.dtype).triu_(1)
        # Laid out as (batch, sequence, heads, head_dim): the output projection reads it without a copy.
        out = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        probabilities = []
        for start in range(0, length, BLOCK):
            end = min(start + BLOCK, length)
            scores = q[:, :, start:end] @ k[:, :, :end].transpose(-1, -2)
            scores[..., start:] += mask[: end - start, : end - start]
            p = scores.softmax(-1)
            out[:, :, start:end] = p @ v[:, :, :end]
            probabilities.append(p)
        ctx.save_for_backward(q, k, v, *probabilities)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, *probabilities = ctx.saved_tensors
        length, head_dim = q.shape[-2:]
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        # From the last block, whose prefix is the whole row: it fills the gradients of keys and values.
        for block in reversed(range(len(probabilities))):
            start, end = block * BLOCK, min((block + 1) * BLOCK, length)
            p, g = probabilities[block], grad_out[:, :, start:end]
            grad_p = g @ v[:, :, :end].transpose(-1, -2)
            grad_scores = torch._softmax_backward_data(grad_p, p, -1, p.dtype)
            grad_q[:, :, start:end] = grad_scores @ k[:, :, :end]
            to_v, to_k = p.transpose(-1, -2) @ g, grad_scores.transpose(-1, -2) @ q[:, :, start:end]
            if end == length:
                grad_v.copy_(to_v)
                grad_k.copy_(to_k)
            else:
                grad_v[:, :, :end] += to_v
                grad_k[:, :, :end] += to_k
        return grad_q.mul_(head_dim**-0.5), grad_k, grad_v
