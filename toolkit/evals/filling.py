"""A trained model, read back to fill in what is masked."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from toolkit.data.tokenizer import MASK, TextTokenizer
from toolkit.evals.sampling import Loaded, load_task
from toolkit.store.errors import BadFile
from toolkit.store.manifest import Checkpoint


@runtime_checkable
class Fills(Protocol):
    """A task that says what may stand at a mask."""

    def candidates(self, ids: Sequence[int]) -> Tensor: ...


class Candidate(NamedTuple):
    """A token that may stand at a mask."""

    token: str
    probability: float


class Filled(NamedTuple):
    """A text with the likeliest token at each of its masks, and what else may stand there."""

    text: str
    masks: list[list[Candidate]]
    """For each mask, the likeliest first."""


def load_for_filling(checkpoint: Checkpoint, device: str = "cpu") -> Loaded:
    """The checkpoint's model in float32; the checkpoint is verified first.

    Raises CorruptCheckpoint, and BadFile for a model that fills in nothing.
    """
    loaded = load_task(checkpoint, device)
    tokenizer = loaded.tokenizer
    if not isinstance(loaded.task, Fills) or tokenizer is None or tokenizer.mask_id is None:
        raise BadFile(checkpoint.path, f"holds a model for {loaded.plan.task.kind}, which fills in no {MASK}")
    return loaded


def fill(model: Loaded, text: str, *, count: int = 5) -> Filled:
    """The likeliest tokens at each `[MASK]` of a text, which is read as a document of its own.

    Raises ValueError for a text without a mask, or longer than the model takes.
    """
    task, tokenizer, _ = model
    assert isinstance(task, Fills)
    assert tokenizer is not None
    ids = masked_ids(tokenizer, text)
    limit = task.trunk.arch.max_sequence_length
    if len(ids) > limit:
        raise ValueError(f"the text has {len(ids)} tokens with its ends, and the model takes {limit}.")
    scores = task.candidates(ids)
    scores[:, list(tokenizer.special_ids)] = -float("inf")
    best = scores.topk(min(count, scores.shape[1]), dim=1)
    masks = [
        [Candidate(tokenizer.spelled(token), value) for token, value in zip(tokens, values, strict=True)]
        for tokens, values in zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    ]
    firsts = iter(best.indices[:, 0].tolist())
    whole = [next(firsts) if token == tokenizer.mask_id else token for token in ids]
    return Filled(tokenizer.decode(whole), masks)


def masked_ids(tokenizer: TextTokenizer, text: str) -> list[int]:
    """The ids of a text in which `[MASK]` hides a token, between two ends. Raises ValueError without a mask.

    A space before a mask belongs to the hidden token where the tokenizer keeps spaces with the word behind them.
    """
    parts = text.split(MASK)
    if len(parts) < 2:
        raise ValueError(f"there is nothing to fill in. Write {MASK} where a token is to be found.")
    if tokenizer.keeps_spaces:
        parts = [part.removesuffix(" ") for part in parts[:-1]] + parts[-1:]
    assert tokenizer.mask_id is not None
    frame = tokenizer.frame
    ids = list(frame.before)
    for number, part in enumerate(parts):
        ids += [tokenizer.mask_id] if number else []
        ids += tokenizer.encode(part)
    return [*ids, *(frame.after or frame.between)]
