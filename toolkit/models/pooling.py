"""From the hidden states of a row to one vector."""

import torch
from torch import Tensor

from toolkit.models.cross_entropy import token_losses
from toolkit.models.head import MaskedLMHead
from toolkit.models.masks import mean_of_real
from toolkit.models.trunk import Trunk


def pooled(trunk: Trunk, hidden: Tensor, lengths: Tensor | None, pool: str | None) -> Tensor:
    """One vector a row, (rows, d_model), from hidden states (rows, positions, d_model): the mean over its `lengths`
    real positions, the last or the first ("class") of them, or (None) what the trunk itself takes."""
    if pool is None:
        return trunk.pooled(hidden, lengths)
    if pool == "class":
        return hidden[:, 0]
    if pool == "mean":
        return mean_of_real(hidden, lengths)
    last = hidden.shape[1] - 1 if lengths is None else lengths - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def pooled_by_surprisal(
    head: MaskedLMHead, hidden: Tensor, inputs: Tensor, lengths: Tensor | None, special: Tensor
) -> Tensor:
    """The mean of each row's positions, weighted by one over the probability that `head` gives the token there.

    The token is not hidden, so this asks for a head that also learned from such ones. Nothing has a gradient.

    Args:
        hidden: (rows, positions, d_model).
        inputs: Token ids, (rows, positions).
        lengths: Real positions, (rows,); None where all are.
        special: Ids of tokens that no weight goes to, (n,). In a row of nothing else all weigh the same.

    Returns (rows, d_model) in float32.
    """
    ids = inputs.long()
    real = torch.ones_like(ids, dtype=torch.bool)
    if lengths is not None:
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    text = real & ~torch.isin(ids, special)
    states = head.transform(hidden).flatten(0, 1)
    nats = token_losses(states, head.weight, ids.flatten(), bias=head.bias).view_as(ids)
    some = text.any(1, keepdim=True)
    weights = (nats * some).masked_fill(~torch.where(some, text, real), float("-inf")).softmax(1)
    return (weights.unsqueeze(1) @ hidden.detach().float()).squeeze(1)
