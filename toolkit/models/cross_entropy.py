"""Cross-entropy of a linear head, without ever holding the logits of a whole batch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Targets with this value carry no loss."""
CHUNK_LOGITS = 1 << 21
"""Logits held at once: 8 MiB in float32, which stays in a CPU's last cache."""
GPU_CHUNK_LOGITS = 1 << 27
"""Those of a GPU: 512 MiB in float32, so that its products are large."""
GPU_STEP = 64
"""A GPU multiplies by a multiple of so many tokens: tensor cores lose by a row of GPT-2's 50,257 numbers, which begins
at no multiple of 16 bytes."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    softcap: float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Summed cross-entropy of `softcap(hidden weight^T + bias)` against `targets`.

    `hidden` is (n, d_model), `weight` (vocab, d_model), `targets` (n,) with -100 where there is no loss,
    `bias` (vocab,). Logits are taken chunk by chunk, softmax in float32; the gradients are computed in the
    same pass.
    Returns nats, a float32 scalar.
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, bias, targets, softcap)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def token_losses(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    softcap: float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """What `linear_cross_entropy` sums, without gradients: nats of each target, (n,) float32, 0 where it is -100."""
    matrix = _matrix(weight, hidden.dtype)
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    rows = _rows_at_once(weight)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        logits = _logits(hidden[part], matrix, weight.shape[0], bias, softcap)
        log_p = torch.log_softmax(logits, 1, dtype=torch.float32)
        losses[part] = -log_p.gather(1, targets[part].clamp(min=0).unsqueeze(1)).squeeze(1)
    return losses.masked_fill_(targets == IGNORED, 0.0)


def _rows_at_once(weight: Tensor) -> int:
    return max(1, (GPU_CHUNK_LOGITS if weight.is_cuda else CHUNK_LOGITS) // weight.shape[0])


def _step(weight: Tensor) -> int:
    return GPU_STEP if weight.is_cuda else 1


def _matrix(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The head's matrix as it is multiplied by, (vocab or a few zero rows more, d_model)."""
    matrix, filler = weight.to(dtype), -weight.shape[0] % _step(weight)
    return F.pad(matrix, (0, 0, 0, filler)) if filler else matrix


def _logits(hidden: Tensor, matrix: Tensor, vocab: int, bias: Tensor | None, softcap: float | None) -> Tensor:
    """Logits (n, rows of the matrix); those beyond the vocabulary are -inf, so that softmax gives them nothing."""
    logits = hidden @ matrix.T
    if bias is not None or softcap is not None:
        logits = logits.float()
    if bias is not None:
        logits[:, :vocab] += bias
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    if vocab < logits.shape[1]:
        logits[:, vocab:] = float("-inf")
    return logits


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, softcap: float | None
    ) -> Tensor:
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        matrix, vocab = _matrix(weight, hidden.dtype), weight.shape[0]
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        d_weight = weight.new_zeros(matrix.shape) if need_weight else None
        d_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = _rows_at_once(weight)
        for start in range(0, hidden.shape[0], rows):
            part = slice(start, start + rows)
            logits = _logits(hidden[part], matrix, vocab, bias, softcap)
            kept = targets[part] != IGNORED
            index = targets[part].clamp(min=0).unsqueeze(1)
            log_p = torch.log_softmax(logits, 1, dtype=torch.float32)
            loss -= (log_p.gather(1, index).squeeze(1) * kept).sum()
            if d_hidden is None and d_weight is None and d_bias is None:
                continue
            d_logits = log_p.exp_()
            d_logits.scatter_add_(1, index, torch.full_like(index, -1, dtype=d_logits.dtype))
            if softcap is not None:
                d_logits[:, :vocab] *= logits[:, :vocab].div_(softcap).square_().neg_().add_(1)
            d_logits = d_logits.to(hidden.dtype).mul_(kept.unsqueeze(1))
            if d_bias is not None:
                d_bias += d_logits[:, :vocab].float().sum(0)
            if d_hidden is not None:
                torch.mm(d_logits, matrix, out=d_hidden[part])
            if d_weight is not None:
                d_weight += d_logits.T @ hidden[part]
        ctx.gradients = (d_hidden, None if d_weight is None else d_weight[:vocab], d_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        scaled = tuple(None if g is None else g * d_loss.to(g.dtype) for g in ctx.gradients)
        return (*scaled, None, None)
