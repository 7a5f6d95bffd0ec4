"""What an expert would say of a plan before it is run."""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.plan.corpus import CorpusFacts
from toolkit.plan.figures import short, size
from toolkit.plan.machine import Machine
from toolkit.plan.memory import SHARE_OF_MEMORY
from toolkit.spec.export import export_obstacle
from toolkit.spec.objective import WHOLE_BATCH
from toolkit.spec.places import is_url

if TYPE_CHECKING:
    from toolkit.plan.plan import Plan

FEW_TOKENS_PER_PARAMETER = 5
GOOD_TOKENS_PER_PARAMETER = 20
"""Where a fixed number of operations is spent best (Hoffmann 2022)."""
MANY_TOKENS_PER_PARAMETER = 200
MANY_EPOCHS = 4
"""Passes over the same text up to which it teaches almost as much as new text (Muennighoff 2023)."""
FEW_VALIDATION_TOKENS = 20_000
FEW_STEPS = 50
FEW_HELD_OUT_ROWS = 100
FULL_ROWS = 0.85
"""Share of filled slots below which rows are too long for their documents."""


def find_warnings(
    plan: "Plan", machine: Machine, facts: CorpusFacts | None, free_disk: int | None = None
) -> tuple[str, ...]:
    """Sentences that begin with the key to change. None of them stops a run."""
    if plan.parent is not None:
        rows = _of_paths(plan) if facts is None else _of_rows(plan, facts)
        return (*rows, *_of_machine(plan, machine, free_disk))
    if not plan.vocab_size:
        return (
            *_of_batch(plan, facts),
            *_of_images(plan, facts),
            *_of_model(plan),
            *_of_machine(plan, machine, free_disk),
        )
    return (
        *_of_length(plan, facts),
        *_of_batch(plan, facts),
        *_of_data(plan, facts),
        *_of_model(plan),
        *_of_machine(plan, machine, free_disk),
    )


def _of_paths(plan: "Plan") -> Iterator[str]:
    """Of labelled rows that were never read."""
    source = getattr(plan.task, "data", None)
    for key in ("path", "validation_path") if source is not None and source.kind != "hub" else ():
        path = getattr(source, key, None)
        if path is None or is_url(path) or glob.has_magic(path) or Path(path).expanduser().exists():
            continue
        yield (
            f"finetune.{plan.stage}.data.{key}: there is no {path} (relative paths start at {Path.cwd()}), so the run "
            "would stop there. Put it there, name another, or say with data.root where the data lies."
        )


def _of_rows(plan: "Plan", facts: CorpusFacts) -> Iterator[str]:
    """Of labelled rows."""
    source = facts.sources[0]
    rows = source.train.rows + source.validation.rows
    stage = f"finetune.{plan.stage}"
    if source.cut:
        yield (
            f"{stage}.sequence_length: {source.cut:,} of {rows:,} rows are longer than {plan.sequence_length} tokens "
            "and are cut."
        )
    if source.skipped:
        yield f"{stage}.on_bad_row: {source.skipped:,} rows are passed over. The first: {source.first_skipped}."
    if source.validation.rows < FEW_HELD_OUT_ROWS:
        yield (
            f"{stage}.data.validation: {source.validation.rows} held-out rows are few: a score on them is uncertain by "
            "several points."
        )


def _of_length(plan: "Plan", facts: CorpusFacts | None) -> Iterator[str]:
    repeats = _most_repeats(plan, facts)
    ratio, parameters = plan.tokens_per_parameter, plan.parameters.total
    if ratio is not None and ratio < FEW_TOKENS_PER_PARAMETER:
        good = GOOD_TOKENS_PER_PARAMETER
        yield (
            f"train.duration: {ratio:.2g} tokens per parameter are few for {short(parameters)} parameters. A "
            "smaller model learns more in the same time; this one is fed well by "
            f"{short(good * parameters)} tokens ({good} per parameter)."
        )
    if repeats is not None and repeats[1] > MANY_EPOCHS:
        kind, times = repeats
        yield (
            f"train.duration: the {kind} data is read {times:.1f} times over. After about {MANY_EPOCHS} "
            "passes repeated text teaches little (Muennighoff 2023): train for less, or add data."
        )
    elif ratio is not None and ratio > MANY_TOKENS_PER_PARAMETER:
        yield (
            f"train.duration: {ratio:.0f} tokens per parameter are many for {short(parameters)} parameters. "
            "A larger model reaches the same loss with fewer operations."
        )
    if plan.steps is not None and plan.steps < FEW_STEPS:
        yield (
            f"train.duration: {plan.steps} steps are few for an optimizer to get anywhere. "
            "A smaller batch gives more of them."
        )


def _of_batch(plan: "Plan", facts: CorpusFacts | None) -> Iterator[str]:
    asked = plan.train.batch
    if asked.unit == "tokens" and asked.value % plan.sequence_length:
        rows = asked.value / plan.sequence_length
        yield (
            f'train.batch: "{asked}" is {rows:.4g} rows of {plan.sequence_length} tokens; '
            f'{plan.batch_rows} are taken. Write "{_rows(plan.batch_rows)}" to say so.'
        )
    if facts is not None and 0 < facts.train.rows < plan.batch_rows:
        yield (
            f"train.batch: {_rows(plan.batch_rows)} are more than the {facts.train.rows} of the training "
            "data: each step reads some of them twice."
        )
    if plan.run.micro_batch is not None and plan.task.kind in WHOLE_BATCH:
        yield (
            f"run.micro_batch: {plan.task.kind} compares the rows of a batch with each other, so the "
            f"{plan.batch_rows} are computed at once."
        )
    elif plan.run.micro_batch is not None and plan.batch_rows % plan.micro_batch:
        rest = plan.batch_rows % plan.micro_batch
        yield (
            f"run.micro_batch: {plan.micro_batch} does not divide the batch of {plan.batch_rows} rows; "
            f"the last micro-batch of each step has {rest}."
        )


def _of_data(plan: "Plan", facts: CorpusFacts | None) -> Iterator[str]:
    if facts is None:
        return
    held_out = facts.validation.tokens
    if held_out < FEW_VALIDATION_TOKENS:
        share = plan.data.validation
        enough = share * FEW_VALIDATION_TOKENS / max(held_out, 1)
        way_out = f"Raise it to {enough:.2g}." if held_out and enough <= 0.5 else "Add data."
        yield (
            f"data.validation: {held_out:,} held-out tokens are too few for a loss that tells runs apart. "
            f"{way_out}"
        )
    slots = facts.train.rows * plan.sequence_length
    if slots and facts.train.tokens < FULL_ROWS * slots:
        empty = 1 - facts.train.tokens / slots
        yield (
            f"data.sequence_length: {empty:.0%} of the slots of {plan.sequence_length} tokens stay empty, "
            "as documents are short or few. Shorter rows waste less."
        )
    asked = getattr(plan.data.tokenizer, "vocab_size", None)
    if asked is not None and facts.vocab_size < asked and plan.data.tokenizer.kind != "characters":
        yield (
            f"data.tokenizer.vocab_size: {asked} asked for, {facts.vocab_size} learned: "
            "the text holds no more pieces that repeat."
        )


def _of_images(plan: "Plan", facts: CorpusFacts | None) -> Iterator[str]:
    if facts is None:
        return
    held_out = facts.validation.rows
    if held_out < FEW_HELD_OUT_ROWS:
        yield f"data.validation: {held_out} held-out images are few for a loss and scores that tell runs apart."
    for source in facts.sources:
        if source.skipped:
            yield (
                f"data.sources: {source.skipped:,} images of {source.kind} can't be read and are left out. "
                f"The first: {source.first_skipped}."
            )
        if source.cut:
            yield f"data.sources: {source.cut:,} recordings are longer than a spectrogram and are cut."


def _of_model(plan: "Plan") -> Iterator[str]:
    obstacle = export_obstacle(plan.architecture)
    if obstacle is not None:
        yield f"model: can't be exported for other software: {obstacle}. tk itself trains and samples it."


def _of_machine(plan: "Plan", machine: Machine, free_disk: int | None) -> Iterator[str]:
    asked = plan.run.device
    if machine.gpus and asked == "auto" and not plan.device.startswith("cuda"):
        yield (
            f"run.device: {machine.gpus[0].name} stays unused, as the torch installed here is built for "
            "CPUs. pytorch.org tells how to install the one for CUDA."
        )
    if asked.startswith("cuda") and machine.gpu(asked) is None:
        yield f'run.device: "{asked}" is not on this machine; the plan is for one that has it.'
    elif plan.run.precision == "bfloat16" and machine.resolve_precision("auto", plan.device) != "bfloat16":
        yield "run.precision: bfloat16 is slow on this hardware; float32 or auto is faster."
    memory = machine.memory_of(plan.device)
    if memory and plan.memory.total > SHARE_OF_MEMORY * memory:
        yield (
            f"memory: {size(plan.memory.total)} needed for {_rows(plan.micro_batch)} at once, {size(memory)} "
            "there. Use a smaller model, shorter rows or a smaller run.micro_batch."
        )
    elif not plan.device.startswith("cuda") and plan.memory.total > machine.available:
        yield (
            f"memory: {size(plan.memory.total)} needed, and {size(machine.available)} of {size(memory)} free "
            "now. End what else runs on this machine."
        )
    if free_disk is not None and plan.disk.checkpoints > free_disk:
        yield (
            f"run.keep: checkpoints take {size(plan.disk.checkpoints)}, and {size(free_disk)} are free. "
            "Keep fewer, or point TK_RUNS at a larger disk."
        )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _most_repeats(plan: "Plan", facts: CorpusFacts | None) -> tuple[str, float] | None:
    """The source that is read most often, and how often; rows are drawn by the sources' weights."""
    if facts is None or plan.steps is None or len(facts.sources) != len(plan.data.sources):
        return None
    samples = plan.steps * plan.batch_rows
    total = sum(source.weight for source in plan.data.sources)
    repeats = [
        (read.kind, samples * source.weight / total / read.train.rows)
        for source, read in zip(plan.data.sources, facts.sources, strict=True)
        if read.train.rows
    ]
    return max(repeats, key=lambda pair: pair[1], default=None)
