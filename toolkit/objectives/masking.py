"""Which tokens are hidden, and what stands in their place."""

import torch
from torch import Tensor

from toolkit.models.task import Vocabulary
from toolkit.spec.objective import MaskedLM

RANDOM_FROM, KEPT_FROM = 0.8, 0.9
"""Of BERT's 80/10/10: numbers from 0 to 1 above these give a random token, and the token itself."""


class Masking:
    """Hides the tokens of rows; special tokens and padding are never hidden.

    Draws from torch's default generator on the CPU, whatever the device.
    """

    def __init__(self, objective: MaskedLM, tokenizer: Vocabulary) -> None:
        if tokenizer.mask_id is None:
            raise ValueError(
                "the tokenizer has no mask token, which masked_lm needs. Train one (data.tokenizer.kind = "
                '"bpe", "wordpiece", …) or name one that has "[MASK]" or "<mask>".'
            )
        self.objective = objective
        self.mask_id = tokenizer.mask_id
        self._special = torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
        self._special[list(tokenizer.special_ids)] = True
        self._ordinary_ids = torch.nonzero(~self._special).flatten()
        heads, tails = tokenizer.word_edges if objective.choose == "words" else (None, None)
        self._heads = None if heads is None else torch.from_numpy(heads)
        self._tails = None if tails is None else torch.from_numpy(tails)

    def ordinary_token(self, inputs: Tensor) -> Tensor:
        """Which token ids, of any shape, are text and no special token."""
        return ~self._special.to(inputs.device)[inputs]

    def budget(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Tokens of each row to be hidden, (rows,): at least one of a row that holds text."""
        text = self._text(inputs, lengths).sum(1)
        return (text * self.objective.share).round().long().clamp(min=1).minimum(text)

    def hide(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """`inputs` (rows, sequence) with some tokens hidden, and which (rows, sequence), true where hidden."""
        ids, real = inputs.cpu(), lengths.cpu()
        chosen = self.choose(ids, real)
        replaced = torch.full_like(ids, self.mask_id)
        if self.objective.replace == "bert":
            draw = torch.rand(ids.shape)
            random = self._ordinary_ids[torch.randint(len(self._ordinary_ids), ids.shape)]
            replaced = torch.where(draw >= RANDOM_FROM, torch.where(draw >= KEPT_FROM, ids, random), replaced)
        masked = torch.where(chosen, replaced, ids)
        return masked.to(inputs.device), chosen.to(inputs.device)

    def choose(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Which tokens to predict, (rows, sequence), on the CPU.

        Runs of tokens get a random number each and those with the smallest are taken until the budget of the row
        is spent. A run may be a token, a word, or a piece of geometric length.
        """
        text = self._text(inputs, lengths)
        budget = self.budget(inputs, lengths)[:, None]
        run = self._runs(inputs, text)
        score = torch.rand(inputs.shape).gather(1, run).masked_fill(~text, 2.0)
        order = score.argsort(stable=True, dim=1)
        rank = torch.empty_like(order).scatter_(1, order, torch.arange(inputs.shape[1]).expand_as(order))
        chosen = (rank < budget) & text
        if self.objective.choose == "words":
            chosen = _whole_runs(chosen, text, run)
        return chosen

    def _text(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]
        return real & self.ordinary_token(inputs)

    def _runs(self, inputs: Tensor, text: Tensor) -> Tensor:
        """Number of the run that each token is of, (rows, sequence)."""
        rows, length = inputs.shape
        if self._heads is not None and self._tails is not None:
            together = self._heads[inputs[:, 1:]] & self._tails[inputs[:, :-1]]
        elif self.objective.choose == "spans":
            together = torch.rand(rows, length - 1) >= 1 / self.objective.span_length
        else:
            return torch.arange(length).expand(rows, -1)
        together &= text[:, 1:] & text[:, :-1]
        return torch.cat((torch.zeros(rows, 1, dtype=torch.long), (~together).long().cumsum(1)), 1)


def _whole_runs(chosen: Tensor, text: Tensor, run: Tensor) -> Tensor:
    """`chosen` without the run that the budget cut in two; with all of it where nothing else would be left."""
    taken = torch.zeros_like(run).scatter_add_(1, run, chosen.long())
    size = torch.zeros_like(run).scatter_add_(1, run, text.long())
    whole = ((taken == size) & (size > 0)).gather(1, run) & text
    touched = (taken > 0).gather(1, run) & text
    return torch.where(whole.any(1, keepdim=True), whole, touched)
