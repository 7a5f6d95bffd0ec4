"""The frozen plan of a stage: the spec with nothing left open, and what it will take."""

import shutil
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from toolkit.plan.corpus import CorpusFacts, read_facts
from toolkit.plan.cost import Cost, Disk, estimate_cost, estimate_disk, estimate_seconds
from toolkit.plan.errors import PlanError
from toolkit.plan.fingerprint import fingerprint, plan_identity
from toolkit.plan.flops import training_flops_per_token
from toolkit.plan.length import (
    Every,
    count_batch_rows,
    count_steps,
    evaluation_interval,
    resolve_interval,
)
from toolkit.plan.machine import Machine, Precision
from toolkit.plan.memory import Memory, choose_micro_batch, estimate_memory
from toolkit.plan.probe import ProbeRecord, find_probe
from toolkit.plan.sizes import Parameters, count_parameters
from toolkit.plan.vocabulary import vocabulary_size
from toolkit.plan.warnings import find_warnings
from toolkit.spec.data import Data
from toolkit.spec.duration import Interval
from toolkit.spec.model import Architecture, resolve_architecture
from toolkit.spec.objective import Objective
from toolkit.spec.run import Run
from toolkit.spec.spec import Spec
from toolkit.spec.train import Train
from toolkit.store.runs import runs_root

PLAN_VERSION: Literal[1] = 1


class Plan(BaseModel):
    """Everything that a run needs to know before its first step. Loads back equal from its JSON.

    `None` stands for what can't be known yet: lengths in epochs before the data is prepared, time before
    the speed was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = PLAN_VERSION
    name: str
    stage: str
    seed: int
    fingerprint: str
    """sha256 of what changes the result."""
    parent: str | None = None
    """Id of the checkpoint that the stage starts from; None for a stage that starts from nothing."""

    data: Data
    architecture: Architecture
    objective: Objective
    train: Train
    run: Run

    data_fingerprint: str | None
    """Of the corpus; None before the data is prepared."""
    vocab_size: int
    parameters: Parameters
    sequence_length: int
    batch_rows: int
    """Rows of a global batch."""
    micro_batch: int
    """Rows computed at once."""
    steps: int | None
    tokens: int | None
    """Slots of all batches together: steps * batch_rows * sequence_length."""
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
        return self.batch_rows * self.sequence_length

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
    stage: str = "pretrain",
    *,
    machine: Machine,
    facts: CorpusFacts | None = None,
    probe: ProbeRecord | None = None,
    free_disk: int | None = None,
) -> Plan:
    """Derive the plan of a stage. Pure but for a pretrained tokenizer's file, whose size it reads.

    Args:
        facts: The prepared corpus; None before it is prepared.
        probe: A measured speed of this plan on this kind of machine.
        free_disk: Bytes free where runs are kept, to warn about.

    Raises:
        PlanError: for a stage the spec doesn't have and a tokenizer that isn't here.
    """
    if stage != "pretrain":
        raise PlanError(f'{spec.name} has no stage "{stage}". It has: pretrain.')
    length = spec.data.sequence_length
    vocab_size = vocabulary_size(spec.data.tokenizer, facts)
    arch = resolve_architecture(spec.model, vocab_size=vocab_size, sequence_length=length)
    parameters = count_parameters(arch)
    batch_rows = count_batch_rows(spec.train.batch, length)
    steps = count_steps(
        spec.train.duration,
        batch_rows=batch_rows,
        sequence_length=length,
        parameters=parameters.total,
        facts=facts,
    )
    tokens = None if steps is None else steps * batch_rows * length
    flops_per_token = training_flops_per_token(arch, length)

    def every(interval: Interval) -> Every | None:
        return resolve_interval(interval, batch_rows=batch_rows, sequence_length=length, facts=facts)

    run = spec.run
    evaluate_every = every(run.evaluate_every) if run.evaluate_every else evaluation_interval(steps)
    device = machine.resolve_device(run.device)
    precision = machine.resolve_precision(run.precision, device)
    optimizer = spec.train.optimizer
    micro_batch = min(run.micro_batch or batch_rows, batch_rows)
    if run.micro_batch is None:
        micro_batch = choose_micro_batch(
            arch,
            batch_rows=batch_rows,
            sequence_length=length,
            precision=precision,
            device=device,
            optimizer=optimizer,
            machine=machine,
        )
    plan = Plan(
        name=spec.name,
        stage=stage,
        seed=spec.seed,
        fingerprint=fingerprint(plan_identity(spec, arch, stage=stage)),
        data=spec.data,
        architecture=arch,
        objective=spec.objective,
        train=spec.train,
        run=run,
        data_fingerprint=facts.fingerprint if facts else None,
        vocab_size=vocab_size,
        parameters=parameters,
        sequence_length=length,
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
        flops=tokens * flops_per_token if tokens else None,
        memory=estimate_memory(
            arch,
            rows=micro_batch,
            sequence_length=length,
            precision=precision,
            device=device,
            optimizer=optimizer,
            accumulates=micro_batch < batch_rows,
        ),
        disk=estimate_disk(
            arch, parameters=parameters, optimizer=optimizer, keep=run.keep, steps=steps, facts=facts
        ),
    )
    plan = plan.model_copy(update={"warnings": find_warnings(plan, machine, facts, free_disk)})
    return plan.with_probe(probe, facts) if probe else plan


def plan_here(
    spec: Spec, stage: str = "pretrain", *, runs: Path | None = None, cache: Path | None = None
) -> Plan:
    """The plan of a stage on this machine, with what is known here of its data and its speed."""
    facts = read_facts(spec.data, cache=cache)
    plan = make_plan(
        spec, stage, machine=Machine.detect(), facts=facts, free_disk=_free_disk(runs_root(runs))
    )
    probe = find_probe(plan, cache=cache)
    return plan.with_probe(probe, facts) if probe else plan


def _free_disk(path: Path) -> int:
    """Bytes free where `path` is or will be made."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
