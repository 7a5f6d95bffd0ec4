"""The frozen plan of a stage: the spec with nothing left open, and what it will take."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from toolkit.plan.corpus import CorpusFacts, labelled_key, read_facts, read_labelled_facts
from toolkit.plan.cost import Cost, Disk, estimate_cost, estimate_disk, estimate_seconds
from toolkit.plan.division import check_division
from toolkit.plan.flops import forward_flops_per_token, own_head_flops, training_factor
from toolkit.plan.length import (
    Every,
    count_batch_rows,
    count_steps,
    evaluation_interval,
    resolve_interval,
)
from toolkit.plan.machine import Machine, Precision
from toolkit.plan.memory import Memory, choose_micro_batch
from toolkit.plan.objectives import objective_flops, objective_memory, objective_parameters
from toolkit.plan.origin import Body, Origin
from toolkit.plan.parent import Parent, ParentRecord
from toolkit.plan.probe import ProbeRecord, find_probe
from toolkit.plan.recipe import make_recipe
from toolkit.plan.sizes import Parameters
from toolkit.plan.tuning import task_parameters, trainable_parameters, tuned_memory
from toolkit.plan.warnings import find_warnings
from toolkit.spec.data import Data
from toolkit.spec.duration import Interval
from toolkit.spec.model import Architecture
from toolkit.spec.objective import WHOLE_BATCH, Objective
from toolkit.spec.run import Run
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.spec.target import Finetune, Target
from toolkit.spec.train import Train
from toolkit.spec.tune import HeadTune, Tune
from toolkit.store.runs import runs_root

PLAN_VERSION: Literal[2] = 2


class Plan(BaseModel):
    """Everything that a run needs to know before its first step. Loads back equal from its JSON.

    `None` stands for what can't be known yet: lengths in epochs before the data is prepared, time before
    the speed was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = PLAN_VERSION
    name: str
    stage: str
    seed: int
    fingerprint: str
    """sha256 of what changes the result."""
    parent: ParentRecord | None = None
    """What the stage starts from; None for a stage that starts from nothing."""
    origin: Origin | None = None
    """Of an imported model, which was trained elsewhere; None for all else."""

    data: Data
    """How the trunk's inputs are made; of a pretraining, also what it reads."""
    architecture: Architecture
    task: Annotated[Objective | Finetune | Body, Field(discriminator="kind")]
    """The objective, or the target with the labelled rows that it reads."""
    train: Train
    tune: Annotated[Tune | None, Field(default=None)]
    """How much of the trunk moves; None where there is nothing to hold still."""
    tune_reason: str = ""
    labels: tuple[str, ...] = ()
    """Names of the classes, by number; known once the data is prepared."""
    run: Run

    data_fingerprint: str | None
    """Of the corpus; None before the data is prepared."""
    vocab_size: int
    parameters: Parameters
    trainable: int
    """Parameters that move."""
    sequence_length: int
    """Most positions of a row: tokens of a text, patches of an image."""
    row_length: int
    """Positions of a row on average: labelled rows are as long as they are."""
    batch_rows: int
    """Rows of a global batch."""
    micro_batch: int
    """Rows computed at once."""
    steps: int | None
    tokens: int | None
    """Slots of all batches together: steps * batch_rows * row_length."""
    epochs: float | None
    """Passes over the training rows."""
    tokens_per_parameter: float | None
    evaluate_every: Every | None
    checkpoint_every: Every | None
    sample_every: Every | None

    machine: str
    """`Machine.key` of the machine that the plan is for."""
    device: str
    precision: Precision
    flops_per_token: float
    """Training: forward and backward."""
    flops: float | None
    memory: Memory
    disk: Disk
    seconds: float | None = None
    """Of training and evaluation, by a measurement on this kind of machine; None without one."""
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()

    @property
    def batch_tokens(self) -> int:
        """Tokens of a global batch."""
        return self.batch_rows * self.row_length

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step; the last may be smaller."""
        return -(-self.batch_rows // self.micro_batch)

    def with_probe(self, probe: ProbeRecord, facts: CorpusFacts | None = None) -> Self:
        """The plan with the time and cost that follow from a measured speed."""
        seconds = estimate_seconds(self, facts, probe)
        return self.model_copy(update={"seconds": seconds, "cost": estimate_cost(seconds, self.run.rates)})


def make_plan(
    spec: Spec,
    stage: str = PRETRAIN,
    *,
    machine: Machine,
    parent: Parent | None = None,
    facts: CorpusFacts | None = None,
    probe: ProbeRecord | None = None,
    free_disk: int | None = None,
    shares: int = 1,
) -> Plan:
    """Derive the plan of a stage. Pure but for a pretrained tokenizer's file, whose size it reads.

    Args:
        parent: Of a fine-tune.
        facts: The prepared data; None before it is prepared.
        probe: A measured speed of this plan on this kind of machine.
        free_disk: Bytes free where runs are kept, to warn about.
        shares: Ranks, or groups of `run.parallel.tensor` of them, that each need a micro-batch to work on.

    Raises:
        PlanError: for a stage the spec doesn't have, a parent that it can't stand on, a tokenizer that
            isn't here, and blocks that can't be divided as `run.parallel.tensor` asks.
    """
    recipe = make_recipe(spec, stage, parent, facts)
    arch, train, tune = recipe.architecture, recipe.train, recipe.tune
    check_division(arch, spec.run.parallel.tensor, recipe.task.kind, tune)
    labels = facts.labels if facts else ()
    target = recipe.task if isinstance(recipe.task, Target) else None
    objective = None if isinstance(recipe.task, Target) else recipe.task
    outputs = None if target is None else target.outputs(len(labels))
    surprisal = getattr(target, "pool", None) == "surprisal"
    parameters = (
        objective_parameters(arch, objective)
        if objective
        else task_parameters(arch, outputs, surprisal=surprisal)
    )
    length = recipe.sequence_length
    row_length = math.ceil(facts.mean_length) if facts and facts.mean_length else length
    longest = facts.longest if facts and facts.longest else length
    batch_rows = count_batch_rows(train.batch, row_length)
    steps = count_steps(
        train.duration,
        batch_rows=batch_rows,
        sequence_length=row_length,
        parameters=parameters.total,
        facts=facts,
    )
    tokens = None if steps is None else steps * batch_rows * row_length
    factor = training_factor(tune, arch.n_layers)
    if objective is not None:
        flops_per_token = factor * objective_flops(arch, objective, row_length) / row_length
    else:
        forward = forward_flops_per_token(arch, row_length)
        flops_per_token = factor * (
            forward + own_head_flops(arch, outputs or 0, row_length, surprisal=surprisal)
        )

    def every(interval: Interval) -> Every | None:
        return resolve_interval(interval, batch_rows=batch_rows, sequence_length=row_length, facts=facts)

    run = spec.run
    evaluate_every = every(run.evaluate_every) if run.evaluate_every else evaluation_interval(steps)
    device = machine.resolve_device(run.device)
    precision = machine.resolve_precision(run.precision, device)

    def memory(rows: int) -> Memory:
        if objective is not None:
            return objective_memory(
                arch,
                objective,
                rows=rows,
                sequence_length=longest,
                precision=precision,
                device=device,
                optimizer=train.optimizer,
                accumulates=rows < batch_rows,
            )
        return tuned_memory(
            arch,
            tune,
            outputs,
            surprisal=surprisal,
            rows=rows,
            sequence_length=longest,
            precision=precision,
            device=device,
            optimizer=train.optimizer,
            accumulates=rows < batch_rows,
        )

    micro_batch = min(run.micro_batch or batch_rows, batch_rows)
    whole = recipe.task.kind in WHOLE_BATCH
    if run.micro_batch is None or whole:
        micro_batch = choose_micro_batch(
            memory,
            batch_rows=batch_rows,
            sequence_length=longest,
            device=device,
            machine=machine,
            whole=whole,
            shares=shares,
        )
    flops = tokens * flops_per_token if tokens else None
    if isinstance(tune, HeadTune) and outputs and steps and facts and recipe.task.reads_with == "pooled":  # type: ignore[union-attr]
        # The trunk's vectors are computed once; a step then costs the head alone.
        passes = facts.train.rows + facts.validation.rows
        flops = passes * row_length * flops_per_token + steps * batch_rows * 2.0 * outputs * arch.d_model
    plan = Plan(
        name=spec.name,
        stage=stage,
        seed=spec.seed,
        fingerprint=recipe.fingerprint,
        parent=recipe.parent,
        data=recipe.data,
        architecture=arch,
        task=recipe.task,
        train=train,
        tune=tune,
        tune_reason=recipe.tune_reason,
        labels=labels,
        run=run,
        data_fingerprint=facts.fingerprint if facts else None,
        vocab_size=arch.vocab_size,
        parameters=parameters,
        trainable=trainable_parameters(arch, tune, parameters),
        sequence_length=length,
        row_length=row_length,
        batch_rows=batch_rows,
        micro_batch=micro_batch,
        steps=steps,
        tokens=tokens,
        epochs=steps * batch_rows / facts.train.rows if facts and steps and facts.train.rows else None,
        tokens_per_parameter=tokens / parameters.total if tokens else None,
        evaluate_every=evaluate_every,
        checkpoint_every=every(run.checkpoint_every),
        sample_every=every(run.sample_every) if run.sample_every else evaluate_every,
        machine=machine.key,
        device=device,
        precision=precision,
        flops_per_token=flops_per_token,
        flops=flops,
        memory=memory(micro_batch),
        disk=estimate_disk(
            arch, parameters=parameters, optimizer=train.optimizer, keep=run.keep, steps=steps, facts=facts
        ),
    )
    plan = plan.model_copy(update={"warnings": find_warnings(plan, machine, facts, free_disk)})
    return plan.with_probe(probe, facts) if probe else plan


def plan_here(
    spec: Spec,
    stage: str = PRETRAIN,
    *,
    runs: Path | None = None,
    cache: Path | None = None,
    imports: "Mapping[str, Plan] | None" = None,
) -> Plan:
    """The plan of a stage on this machine, with what is known here of its parent, its data and its speed.

    `imports` are plans of models that are not imported yet, by their runs.
    """
    from toolkit.plan.parents import find_parent

    root, parent = runs_root(runs), None
    if stage != PRETRAIN:
        parent = find_parent(spec, stage, root=root, cache=cache, imports=imports or {})
    facts = known_facts(spec, stage, parent, cache=cache)
    plan = make_plan(
        spec, stage, machine=Machine.detect(), parent=parent, facts=facts, free_disk=_free_disk(root)
    )
    probe = find_probe(plan, cache=cache)
    return plan.with_probe(probe, facts) if probe else plan


def known_facts(
    spec: Spec, stage: str, parent: Parent | None, *, cache: Path | None = None
) -> CorpusFacts | None:
    """What is known here of the data of a stage."""
    if stage == PRETRAIN or stage not in spec.stages:
        return read_facts(spec.data, cache=cache)
    assert parent is not None
    return read_labelled_facts(facts_key(spec, stage, parent), cache=cache)


def facts_key(spec: Spec, stage: str, parent: Parent) -> str:
    """Under which the facts of a fine-tune's data are kept."""
    target = spec.finetune[stage]
    length = target.sequence_length or parent.architecture.max_sequence_length
    return labelled_key(target, parent.record, seed=spec.seed, sequence_length=length)


def _free_disk(path: Path) -> int:
    """Bytes free where `path` is or will be made."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
