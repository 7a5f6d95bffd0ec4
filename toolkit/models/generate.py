"""Text from a causal trunk, one token at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from toolkit.models.cache import KVCache
from toolkit.models.head import LMHead
from toolkit.models.trunk import GPTTrunk


def generate(
    trunk: GPTTrunk,
    head: LMHead,
    tokens: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
) -> Iterator[int]:
    """Tokens that follow `tokens`, as they are chosen: `max_new_tokens`, or up to `stop_id` (excluded).

    `temperature` 0 takes the likeliest token. `top_k` keeps the k likeliest, `top_p` the likeliest that
    together have this probability (Holtzman 2020). Choices are made on the CPU in float32, with a CPU
    `generator`, so a seed means the same on every device. When the context is full, its older half is dropped
    and the rest read again: an amortised cost of one position a token. Dropout is off meanwhile.

    Raises ValueError at the first token if `tokens` is empty or an option is out of range.
    """
    if not len(tokens):
        raise ValueError("there is nothing to continue: give at least one token, such as end-of-text.")
    if temperature < 0:
        raise ValueError(f"temperature = {temperature} is negative; 0 takes the likeliest token.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k = {top_k}: keep at least one token.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p = {top_p} is not a probability above 0.")
    limit = trunk.arch.max_sequence_length
    seen = list(tokens)
    unread = seen[-max(limit - max_new_tokens, (limit + 1) // 2) :]
    cache = KVCache(
        trunk.arch,
        capacity=min(limit, len(unread) + max_new_tokens),
        dtype=trunk.compute_dtype,
        device=head.weight.device,
    )
    for _ in range(max_new_tokens):
        if cache.length + len(unread) > limit:
            cache.clear()
            unread = seen[-((limit + 1) // 2) :]
        token = choose(
            next_logits(trunk, head, unread, cache),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=generator,
        )
        if token == stop_id:
            return
        yield token
        seen.append(token)
        unread = [token]


def next_logits(trunk: GPTTrunk, head: LMHead, tokens: Sequence[int], cache: KVCache) -> Tensor:
    """Float32 logits (vocab_size,), on the CPU, after `tokens`, which continue what `cache` holds."""
    with _evaluating(trunk), torch.inference_mode():
        hidden: Tensor = trunk(torch.tensor([tokens], device=head.weight.device), cache=cache)
        logits: Tensor = head(hidden[0, -1])
        return logits.cpu()


def choose(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> int:
    """One token drawn from float32 `logits`, (vocab_size,), on the CPU."""
    if temperature == 0:
        return int(logits.argmax())
    scores, ids = logits / temperature, None
    if top_k is not None and top_k < len(scores):
        scores, ids = scores.topk(top_k)
    elif top_p is not None and top_p < 1:
        scores, ids = scores.sort(descending=True)
    p = scores.softmax(0)
    if top_p is not None and top_p < 1:
        p = p.where(p.cumsum(0) - p < top_p, 0.0)
    drawn = int(torch.multinomial(p, 1, generator=generator))
    return drawn if ids is None else int(ids[drawn])


@contextmanager
def _evaluating(trunk: GPTTrunk) -> Iterator[None]:
    training = trunk.training and trunk.arch.dropout > 0
    if training:
        trunk.eval()
    try:
        yield
    finally:
        if training:
            trunk.train()
