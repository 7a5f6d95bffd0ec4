"""What a stage trains and how: the pretraining's tables as they are, a fine-tune's with its defaults filled in."""

from typing import NamedTuple

from toolkit.plan.corpus import CorpusFacts
from toolkit.plan.errors import PlanError
from toolkit.plan.fingerprint import fingerprint, plan_identity, target_identity
from toolkit.plan.parent import Parent, ParentRecord
from toolkit.plan.sizes import count_parameters
from toolkit.plan.tuning import lora_parameters
from toolkit.plan.vocabulary import vocabulary_size
from toolkit.spec.data import Data
from toolkit.spec.model import Architecture, GPTArchitecture, resolve_architecture
from toolkit.spec.objective import Objective
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.spec.target import Finetune
from toolkit.spec.train import AdamW, Train
from toolkit.spec.tune import FullTune, HeadTune, LoraTune, TopTune, Tune

LARGE = 500_000_000
"""Parameters from which a fine-tune moves low-rank updates alone, unless told otherwise."""
WIDTH_RATE = 0.128
"""The default learning rate of a fine-tune times the trunk's width: 5e-4 at 256, 1.7e-4 at 768."""
LORA_RATE = 8
"""Times by which low-rank updates learn faster than the matrices themselves."""
HEAD_RATE = 1e-2
NECKS = {("bert", "pooled"), ("modernbert", "pooled"), ("modernbert", "positions")}
"""Which classifiers of `transformers` have something between trunk and outputs, by what the outputs stand on."""


class Recipe(NamedTuple):
    """A stage with nothing left open."""

    task: Objective | Finetune
    data: Data
    architecture: Architecture
    train: Train
    tune: Tune | None
    """None where there is nothing to hold still: a pretraining."""
    tune_reason: str
    parent: ParentRecord | None
    sequence_length: int
    """Most positions of a row."""
    fingerprint: str


def make_recipe(spec: Spec, stage: str, parent: Parent | None, facts: CorpusFacts | None) -> Recipe:
    """The recipe of a stage. `parent` is that of a fine-tune. Raises PlanError for a stage that isn't there."""
    if stage not in spec.stages:
        raise PlanError(f'{spec.name} has no stage "{stage}". It has: {", ".join(spec.stages)}.')
    if stage == PRETRAIN:
        return _pretraining(spec, facts)
    assert parent is not None, "a fine-tune's parent was found before"
    return _fine_tune(spec, stage, parent, facts)


def _pretraining(spec: Spec, facts: CorpusFacts | None) -> Recipe:
    assert spec.model is not None
    assert spec.objective is not None
    assert spec.train is not None
    length, text = spec.data.sequence_length, spec.data.modality == "text"
    arch = resolve_architecture(
        spec.model,
        vocab_size=vocabulary_size(spec.data.tokenizer, facts) if text else 0,
        sequence_length=length,
        image_shape=spec.data.image_shape,
    )
    if not text:
        length = arch.max_sequence_length
    identity = fingerprint(plan_identity(spec, arch))
    return Recipe(spec.objective, spec.data, arch, spec.train, None, "", None, length, identity)


def _fine_tune(spec: Spec, stage: str, parent: Parent, facts: CorpusFacts | None) -> Recipe:
    target = spec.finetune[stage]
    check_compatible(spec, stage, parent)
    arch = parent.architecture
    if target.dropout is not None:
        arch = arch.model_copy(update={"dropout": target.dropout})
    arch = _with_head(target, arch)
    tune, reason = _tune(target, arch)
    train = Train(
        duration=target.duration,
        batch=target.batch,
        optimizer=target.optimizer or AdamW(kind="adamw", lr=default_rate(tune, arch), weight_decay=0.01),
        schedule=target.schedule,
        clip=target.clip,
        recovery=target.recovery,
    )
    length = target.sequence_length or arch.max_sequence_length
    identity = fingerprint(target_identity(spec.seed, target, parent.record))
    return Recipe(target, parent.data, arch, train, tune, reason, parent.record, length, identity)


def _with_head(target: Finetune, arch: Architecture) -> Architecture:
    """The parent's architecture with the head that the target asks for, else the parent's own."""
    if isinstance(arch, GPTArchitecture):
        return arch
    head = getattr(target, "head", None) or arch.head
    if (arch.kind, target.reads_with) not in NECKS:
        head = "linear"
    # BERT's pooler stands on the first position, whatever else a head would stand on.
    pooling = "class" if head == "family" and arch.kind == "bert" else arch.pooling
    return arch.model_copy(update={"head": head, "pooling": pooling})


def _tune(target: Finetune, arch: Architecture) -> tuple[Tune, str]:
    if target.tune is not None:
        return target.tune, "as the spec says"
    if target.start == "scratch":
        return FullTune(kind="full"), "from scratch everything has to learn"
    if (size := count_parameters(arch).total) >= LARGE:
        return LoraTune(kind="lora"), f"{size:,} parameters are many to move"
    return FullTune(kind="full"), f"{size:,} parameters are few enough to move all"


def default_rate(tune: Tune, arch: Architecture) -> float:
    """The learning rate of a fine-tune whose spec leaves it open."""
    if isinstance(tune, HeadTune):
        return HEAD_RATE
    rate = WIDTH_RATE / arch.d_model
    return float(f"{rate * (LORA_RATE if isinstance(tune, LoraTune) else 1):.2g}")


def check_compatible(spec: Spec, stage: str, parent: Parent) -> None:
    """Raises PlanError where the stage can't stand on its parent: both sides are named, and the way out."""
    target, arch, run = spec.finetune[stage], parent.architecture, parent.record.run
    where = f"finetune.{stage}"
    limit = arch.max_sequence_length
    if target.sequence_length is not None and target.sequence_length > limit:
        raise PlanError(
            f"{where}.sequence_length: {target.sequence_length} is more than {run} takes, which has "
            f"max_sequence_length = {limit}. Lower it, or pretrain with longer rows."
        )
    if isinstance(target.tune, TopTune) and target.tune.blocks > arch.n_layers:
        raise PlanError(
            f"{where}.tune.blocks: {target.tune.blocks} is more than the {arch.n_layers} blocks of {run}. Lower it, or "
            'write tune = { kind = "full" }, which moves the embeddings too.'
        )
    if isinstance(target.tune, LoraTune) and not lora_parameters(arch, target.tune):
        raise PlanError(
            f"{where}.tune.projections: the blocks of {run} have none of {', '.join(target.tune.projections)}. Name "
            "others: q, k, v, out, up and down are in every block."
        )
    if target.reads_with == "words" and parent.task != "causal_lm" and arch.kind != "gpt":
        raise PlanError(
            f'{where}.kind: "{target.kind}" writes text, and {run} is a {arch.kind} trained for {parent.task}, which '
            "does not. Name a parent that was pretrained with causal_lm."
        )
    if target.reads_with != "pooled" and parent.data.modality != "text":
        raise PlanError(
            f'{where}.kind: "{target.kind}" reads text, and {run} reads {parent.data.modality}. Name a parent that was '
            "pretrained on text."
        )
    pool = getattr(target, "pool", None)
    if pool == "class" and (arch.kind == "gpt" or not getattr(arch, "class_token", True)):
        raise PlanError(
            f'{where}.pool: "class" is the vector of a token before the row, and {run} has none that saw the row. '
            'Write "last" or "mean", or leave it out.'
        )
    head = getattr(target, "head", None) or getattr(arch, "head", None)
    if head == "family" and arch.kind == "bert" and pool not in (None, "class"):
        raise PlanError(
            f'{where}.pool: "{pool}" does not go with BERT\'s own head, which stands on the first position. Leave pool '
            'out, or write head = "linear" (such a model can\'t be exported).'
        )
    if pool == "surprisal" and parent.task != "masked_lm":
        raise PlanError(
            f'{where}.pool: "surprisal" asks the head of a masked language model, and {run} was trained for '
            f'{parent.task}. Write "mean", or leave it out.'
        )
    if pool == "surprisal" and not parent.reads_unhidden:
        raise PlanError(
            f'{where}.pool: "surprisal" asks the parent about tokens that are not hidden, and {run} learned from '
            'hidden ones alone. Pretrain it with objective.replace = "bert", or write pool = "mean".'
        )
    tied = getattr(arch, "tie_embeddings", False)
    if target.reads_with == "words" and isinstance(target.tune, HeadTune) and tied:
        raise PlanError(
            f"{where}.tune: the head of {run} is its embedding (tie_embeddings), so it can't learn alone. Use lora, "
            "top or full."
        )
    given = spec.data
    # A worker reads the spec with its defaults written out: the default is not asked for.
    differs = given.tokenizer not in (Data().tokenizer, parent.data.tokenizer)
    if spec.parent is not None and differs:
        raise PlanError(
            f"data.tokenizer: {_tokenizer(given)} here, and {run} has {_tokenizer(parent.data)}. A fine-tune reads "
            "with its parent's tokenizer: leave [data] out."
        )


def _tokenizer(data: Data) -> str:
    size = getattr(data.tokenizer, "vocab_size", None)
    return f'"{data.tokenizer.kind}"' + (f" of {size:,}" if size else "")
