"""A trained model, read back to write text."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from toolkit.data.tokenizer import TextTokenizer
from toolkit.engine.datasets import read_tokenizer
from toolkit.engine.samples import Writes
from toolkit.engine.tasks import build_task
from toolkit.engine.weights import read_checkpoint_plan, read_weights
from toolkit.models.build import build_trunk
from toolkit.models.task import Task
from toolkit.models.trunk import Trunk
from toolkit.plan.origin import Body
from toolkit.plan.plan import Plan
from toolkit.store.errors import BadFile, CorruptCheckpoint
from toolkit.store.manifest import Checkpoint


class Loaded(NamedTuple):
    """The model of a checkpoint."""

    task: Task
    tokenizer: TextTokenizer | None
    plan: Plan


def load_for_sampling(checkpoint: Checkpoint, device: str = "cpu") -> Loaded:
    """The checkpoint's model in float32 and evaluation mode; the checkpoint is verified first.

    Raises CorruptCheckpoint, or BadFile for a checkpoint that this version can't read, or that of a task
    that writes no text, and DataError for a tokenizer that can't be read.
    """
    loaded = load_task(checkpoint, device)
    if not isinstance(loaded.task, Writes) or loaded.tokenizer is None:
        raise BadFile(checkpoint.path, f"holds a model for {loaded.plan.task.kind}, which writes no text")
    return loaded


def load_task(checkpoint: Checkpoint, device: str = "cpu") -> Loaded:
    """The checkpoint's task in float32 and evaluation mode, whole; the checkpoint is verified first.

    Raises CorruptCheckpoint, BadFile, DataError, and UnknownCheckpoint where a parent it builds on is gone.
    """
    plan = read_checkpoint_plan(checkpoint)
    if isinstance(plan.task, Body):
        raise BadFile(
            checkpoint.path, "holds a body without a head, which does nothing by itself: fine-tune it"
        )
    weights, tokenizer = read_weights(checkpoint), read_tokenizer(checkpoint)
    task = build_task(plan, tokenizer)
    own = task.state_dict().keys()
    try:
        task.load_state_dict({name: tensor for name, tensor in weights.items() if name in own})
    except RuntimeError as error:
        raise CorruptCheckpoint(checkpoint.path, f"its weights do not fit its plan: {error}") from error
    task.compute_in(torch.float32)
    return Loaded(task.to(device).eval(), tokenizer, plan)


def load_trunk(checkpoint: Checkpoint, device: str = "cpu") -> Trunk:
    """The checkpoint's trunk alone, in float32 and evaluation mode; the checkpoint is verified first.

    Raises CorruptCheckpoint, BadFile, and UnknownCheckpoint where a parent it builds on is gone.
    """
    trunk = build_trunk(read_checkpoint_plan(checkpoint).architecture)
    weights, prefix = read_weights(checkpoint), "trunk."
    own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    try:
        trunk.load_state_dict(own)
    except RuntimeError as error:
        raise CorruptCheckpoint(checkpoint.path, f"its weights do not fit its plan: {error}") from error
    return trunk.to(device).eval()


def continuation(
    model: Loaded,
    prompt: str = "",
    *,
    max_tokens: int = 256,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """What the model writes after `prompt`, piece by piece, as the beginning of a document.

    It ends where the model ends the document, or after `max_tokens`. Equal arguments give equal text.
    Raises ValueError at the first piece for options out of range.
    """
    task, tokenizer, _ = model
    assert isinstance(task, Writes), "load_for_sampling has seen to that"
    assert tokenizer is not None
    decoder = tokenizer.decoder()
    # What stands in the decoder before the first new id decides how that is written.
    before = task.prompt(prompt)
    for token in before:
        decoder.push(token)
    ids = task.continuations(
        before,
        max_new_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=torch.Generator().manual_seed(seed),
        stop_id=tokenizer.end_of_text_id,
    )
    for token in ids:
        if piece := decoder.push(token):
            yield piece
    if rest := decoder.flush():
        yield rest
