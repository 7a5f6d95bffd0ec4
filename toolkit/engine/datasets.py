"""The data of a stage, whatever it is made of."""

from pathlib import Path

from toolkit.data.dataset import Dataset
from toolkit.data.encoders import Encoder, TextEncoder, image_encoder
from toolkit.data.errors import DataError
from toolkit.data.images.prepare import prepare_images
from toolkit.data.prepare import prepare
from toolkit.data.prepare_labelled import prepare_labelled
from toolkit.data.progress import Progress
from toolkit.data.shared import SharedCache
from toolkit.data.tokenizer import TextTokenizer
from toolkit.engine.checkpointing import TOKENIZER
from toolkit.engine.preparing import helped
from toolkit.engine.ranks import ALONE, Ranks
from toolkit.plan.parent import Parent
from toolkit.plan.plan import facts_key
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.store.manifest import Checkpoint


def prepare_stage(
    spec: Spec,
    stage: str,
    parent: Parent | None,
    base: Checkpoint | None,
    *,
    cache: Path | None = None,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> Dataset:
    """The data set of a stage.

    Args:
        base: The parent's checkpoint, whose tokenizer a fine-tune reads with.
        ranks: The others do the same at the same time: a corpus is divided among them.

    Raises DataError, and PreparationStopped where `progress` asks for it.
    """
    if stage == PRETRAIN:
        if spec.data.modality != "text":
            return prepare_images(spec.data, cache=cache, progress=progress)
        shared = SharedCache(spec.run.shards) if spec.run.shards else None
        with helped(spec, ranks.rank, ranks.world, cache) as crew:
            return prepare(spec.data, cache=cache, shared=shared, crew=crew, progress=progress)
    assert parent is not None
    assert base is not None
    from toolkit.targets.registry import TARGETS

    target = spec.finetune[stage]
    tokenizer = read_tokenizer(base)
    longest = target.sequence_length or parent.architecture.max_sequence_length
    encoder = make_encoder(parent, tokenizer, longest)
    try:
        form = TARGETS[target.kind].form(target, encoder, longest)
    except ValueError as error:
        raise DataError(parent.record.run, str(error)) from error
    template = getattr(form, "chat_template", None)
    if tokenizer is not None and template is not None:
        tokenizer = tokenizer.with_chat_template(template)
    return prepare_labelled(
        target.data,
        form,
        key=facts_key(spec, stage, parent),
        tokenizer=tokenizer,
        seed=spec.seed,
        skip_bad=target.on_bad_row == "skip",
        cache=cache,
        progress=progress,
    )


def read_tokenizer(checkpoint: Checkpoint) -> TextTokenizer | None:
    """The tokenizer of a checkpoint; None where its model reads no text."""
    if TOKENIZER not in checkpoint.files:
        return None
    return TextTokenizer.read_kept(checkpoint.path)


def make_encoder(parent: Parent, tokenizer: TextTokenizer | None, longest: int) -> Encoder:
    """What makes a row's fields into the inputs of a trunk."""
    if parent.data.modality != "text":
        return image_encoder(parent.data, next(iter(parent.data.sources), None))
    if tokenizer is None:
        raise DataError(parent.record.run, "has no tokenizer, so it can't read text")
    return TextEncoder(tokenizer, longest)
