"""Scaled dot-product attention."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float = 0.0) -> Tensor:
    """Softmax(q k^T / sqrt(head_dim)) v (Vaswani 2017).

    `q` is (batch, heads, queries, head_dim); `k` and `v` are (batch, kv_heads, keys, head_dim), where kv_heads
    divides heads (grouped queries, Ainslie 2023). Causal attention is aligned to the end: with fewer queries
    than keys, the last query sees every key. `dropout` acts on the attention weights whenever it is above zero.
    Returns (batch, heads, queries, head_dim).
    """
    n_queries, n_keys = q.shape[2], k.shape[2]
    grouped = q.shape[1] != k.shape[1]
    if n_queries == 1:
        causal = False
    if causal and n_queries < n_keys:
        mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=q.device).tril(n_keys - n_queries)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, enable_gqa=grouped)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout, enable_gqa=grouped)
