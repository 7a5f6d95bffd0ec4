"""A stage from its job to its end: lease, data, plan, training, account."""

import shutil
from contextlib import suppress
from dataclasses import replace

from pydantic import ValidationError

from toolkit.data.dataset import Dataset
from toolkit.data.errors import PreparationStopped
from toolkit.engine.beginning import Beginning
from toolkit.engine.console import Console, DataProgress
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.errors import StageError
from toolkit.engine.interrupts import EXIT_FINISHED, Interrupts
from toolkit.engine.job import Job
from toolkit.engine.ranks import ALONE, PLAN, STOPPED, Ranks
from toolkit.engine.versions import versions
from toolkit.plan.machine import Machine
from toolkit.plan.parent import Parent
from toolkit.plan.parents import find_parent, find_parent_checkpoint
from toolkit.plan.plan import Plan, make_plan
from toolkit.plan.probe import find_probe
from toolkit.plan.report import plan_rows
from toolkit.spec.spec import PRETRAIN
from toolkit.store.atomic import write_atomic
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.children import note_child
from toolkit.store.events import append_event, read_events
from toolkit.store.lease import Lease, hold
from toolkit.store.manifest import Checkpoint
from toolkit.store.requests import clear
from toolkit.store.runs import RunFolder, parse_reference
from toolkit.store.status import Status, read_status, write_status


def carry_out(job: Job, interrupts: Interrupts, ranks: Ranks = ALONE) -> int:
    """Train the stage of a job from its last checkpoint on; the exit status. For the first rank.

    Raises StageError, DataError, PlanError or StoreError, and PreparationStopped, each noted in the run.
    """
    run = job.run
    run.create()
    with hold(run) as lease, Console(run.console, quiet=job.quiet) as console:
        attempt = sum(event["kind"] == "started" for event in read_events(run)) + 1
        before = read_status(run)
        if not run.plan.exists():
            write_atomic(run.spec, job.text.encode())
            append_event(run, "created", spec=job.spec.model_dump(mode="json"))
        clear(run)
        append_event(run, "started", attempt=attempt, versions=versions(), ranks=ranks.world)
        kept = before.model_dump(include={"step", "steps", "metrics", "best"}) if before else {}
        status = Status(state="preparing", attempt=attempt, **kept)
        write_status(run, status)
        try:
            outcome = _train(job, lease, console, interrupts, attempt, ranks)
            if outcome == EXIT_FINISHED and not job.keep_weights:
                CheckpointStore(run).discard()
            return outcome
        except BaseException as error:
            state = "stopped" if isinstance(error, PreparationStopped) else "failed"
            reason = str(error) or type(error).__name__
            if state == "stopped":
                ranks.announce(PLAN, STOPPED)
            with suppress(OSError):  # the run's folder may be what failed
                append_event(run, state, attempt=attempt, reason=reason)
                last = read_status(run) or status
                write_status(run, last.model_copy(update={"state": state, "reason": reason}))
            raise


def read_plan(run: RunFolder) -> Plan | None:
    """The frozen plan of a run; None before it has one. Raises StageError for one that can't be read."""
    try:
        return Plan.model_validate_json(run.plan.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise StageError(
            f"{run.plan} is not a plan that this version of tk reads. "
            "Use the version that wrote it, or begin again with --replace."
        ) from error


def settle(job: Job, parent: Parent | None, dataset: Dataset, console: Console, world: int) -> Plan:
    """The plan to carry out on `world` ranks: the frozen one of an earlier attempt wherever nothing speaks against it,
    such as ranks that its micro-batches would leave without work.

    Raises StageError when the spec or the data are no longer those the run began with.
    """
    run, frozen = job.run, read_plan(job.run)
    free = shutil.disk_usage(run.path).free
    shares = max(1, world // job.spec.run.parallel.tensor)
    plan = make_plan(
        job.spec,
        job.stage,
        machine=Machine.detect(),
        parent=parent,
        facts=dataset.facts,
        free_disk=free,
        shares=shares,
    )
    probe = find_probe(plan)
    plan = plan.with_probe(probe, dataset.facts) if probe else plan
    if frozen is None:
        return plan
    if plan.fingerprint != frozen.fingerprint:
        raise StageError(
            f"{run} was begun with another spec. `--as NEW_NAME` runs this one beside it, "
            "`--replace` in its place."
        )
    if plan.data_fingerprint != frozen.data_fingerprint:
        raise StageError(
            f"the data of {run} changed since it began. Put the old files back to resume, "
            "or use `--as NEW_NAME` or `--replace` to train on the new ones."
        )
    idle = frozen.micro_batches < min(shares, plan.micro_batches)
    if plan.machine == frozen.machine and plan.run == frozen.run and not idle:
        return frozen
    changed = [
        f"{field} {getattr(frozen, field)} -> {getattr(plan, field)}"
        for field in ("device", "precision", "micro_batch")
        if getattr(frozen, field) != getattr(plan, field)
    ]
    if changed:
        drawn = frozen.micro_batch != plan.micro_batch
        console.warn(
            f"resumed otherwise than begun ({'; '.join(changed)}): the same rows, but not bit for bit."
            + (" What is drawn at random (dropout, masks, views) differs from here on." if drawn else "")
        )
    return plan


def _train(
    job: Job, lease: Lease, console: Console, interrupts: Interrupts, attempt: int, ranks: Ranks
) -> int:
    def stopping() -> bool:
        interrupts.heed(lease.run)
        return bool(interrupts)

    parent, base = _parent(job)
    progress = DataProgress(console, stopping)
    dataset = prepare_stage(job.spec, job.stage, parent, base, ranks=ranks, progress=progress)
    console.end_phase()
    plan = settle(job, parent, dataset, console, ranks.world)
    write_atomic(lease.run.plan, plan.model_dump_json(indent=1).encode())
    for label, value in plan_rows(plan):
        console.say(f"{label:<12} {value}")
    for warning in plan.warnings:
        console.warn(warning)
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.engine.attempt import attempt_training

    ranks.announce(PLAN, Beginning.of(plan, parent, base, attempt).model_dump_json())
    return attempt_training(plan, dataset, base, lease.run, lease, console, interrupts, attempt, ranks)


def _parent(job: Job) -> tuple[Parent | None, Checkpoint | None]:
    """The parent of a fine-tune and its checkpoint: that of the run's first attempt, if there was one.

    Raises StageError where the parent has no checkpoint yet.
    """
    if job.stage == PRETRAIN:
        return None, None
    parent, frozen = find_parent(job.spec, job.stage, root=job.root), read_plan(job.run)
    record = parent.record
    if frozen is not None and frozen.parent is not None and frozen.parent.fingerprint == record.fingerprint:
        record = frozen.parent
    run, _ = parse_reference(record.run, job.root)
    checkpoint = find_parent_checkpoint(run, record.checkpoint or record.selector, record.fingerprint)
    if checkpoint is None:
        kept = ", ".join(f"@step_{item.step}" for item in CheckpointStore(run).list()) if run.exists() else ""
        raise StageError(
            f"the parent {record} has no such checkpoint. "
            + (f"It has {kept}; @last and @best too. Or train it anew" if kept else "Train it first")
            + ": `tk run` of its spec, or without --stage."
        )
    note_child(run, job.run, checkpoint.id)
    return replace(parent, record=record), checkpoint
