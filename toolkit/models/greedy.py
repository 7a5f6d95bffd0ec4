"""The likeliest texts of many prompts at once."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from toolkit.models.cache import KVCache
from toolkit.models.head import LMHead
from toolkit.models.trunk import GPTTrunk

TOGETHER = 32
"""Prompts decoded at once."""


@torch.inference_mode()
def greedy(
    trunk: GPTTrunk,
    head: LMHead,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
) -> list[list[int]]:
    """What follows each prompt, taking the likeliest token each time: `max_new_tokens`, up to a `stop_id` (excluded),
    or to the trunk's longest row.

    Prompts of like length go together. All rows stand at the same position: while a longer prompt is still
    read, a shorter one is answered already. So nothing is padded, and a row's text is the same in any company.
    Raises ValueError for a prompt that is empty or longer than the trunk takes.
    """
    if not all(prompts):
        raise ValueError("there is nothing to continue: give at least one token, such as end-of-text.")
    limit = trunk.arch.max_sequence_length
    if any(len(prompt) > limit for prompt in prompts):
        raise ValueError(
            f"{max(map(len, prompts))} tokens are more than the model takes: max_sequence_length = {limit}."
        )
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    written: dict[int, list[int]] = {}
    for start in range(0, len(order), TOGETHER):
        chosen = order[start : start + TOGETHER]
        texts = _together(trunk, head, [prompts[number] for number in chosen], max_new_tokens, stop_ids)
        written |= dict(zip(chosen, texts, strict=True))
    return [written[number] for number in range(len(prompts))]


def _together(
    trunk: GPTTrunk,
    head: LMHead,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Collection[int],
) -> list[list[int]]:
    shortest, longest = len(prompts[0]), len(prompts[-1])
    end = min(trunk.arch.max_sequence_length, longest + max_new_tokens)
    device = head.weight.device
    cache = KVCache(
        trunk.arch, batch=len(prompts), capacity=max(end, longest), dtype=trunk.compute_dtype, device=device
    )
    written: list[list[int]] = [[] for _ in prompts]
    going = set(range(len(prompts))) if max_new_tokens else set()
    tokens = torch.tensor([list(prompt[:shortest]) for prompt in prompts], device=device)
    for position in range(shortest, end + 1):
        if not going:
            break
        hidden: Tensor = trunk(tokens, cache=cache)
        best: list[int] = head(hidden[:, -1]).argmax(1).tolist()
        for row, prompt in enumerate(prompts):
            if position < len(prompt):
                best[row] = prompt[position]
            elif row in going:
                if best[row] in stop_ids:
                    going.discard(row)
                    continue
                written[row].append(best[row])
                if len(written[row]) == max_new_tokens:
                    going.discard(row)
        if position == end:
            break
        tokens = torch.tensor(best, device=device).unsqueeze(1)
    return written
