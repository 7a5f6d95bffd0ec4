"""Proof of exact resume: train again from the checkpoint before last, and compare with the last."""

from dataclasses import replace

import torch
from torch import Tensor

from toolkit.data.batches import Batches
from toolkit.engine.attempt import freeze, make_trainer
from toolkit.engine.checkpointing import load_checkpoint, read_state
from toolkit.engine.console import Console, DataProgress
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.errors import StageError
from toolkit.engine.hardware import Hardware
from toolkit.engine.interrupts import EXIT_FAILED, EXIT_FINISHED, EXIT_STOPPED, Interrupts
from toolkit.engine.stage import read_plan
from toolkit.engine.tensors import OPTIMIZER, WEIGHTS, read_tensors
from toolkit.engine.weights import find_base
from toolkit.plan.parent import Parent
from toolkit.plan.parents import find_parent
from toolkit.plan.plan import Plan
from toolkit.spec.spec import Spec
from toolkit.spec.tune import HeadTune
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.events import read_events
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder


def replay(run: RunFolder, interrupts: Interrupts) -> int:
    """Print whether the last checkpoint comes out again, bit for bit; the exit status. Writes nothing.

    Raises StageError when there is nothing to replay or the data changed, and StoreError for files that are
    not intact.
    """
    plan, store = read_plan(run), CheckpointStore(run)
    checkpoints = store.list()
    if plan is None or plan.steps is None or len(checkpoints) < 2:
        raise StageError(f"{run} has {len(checkpoints)} checkpoints; a replay needs two.")
    before, last = checkpoints[-2:]
    store.verify(before)
    store.verify(last)
    with Console() as console:
        job_spec, parent, base = _sources(run, plan)
        progress = DataProgress(console, lambda: bool(interrupts))
        dataset = prepare_stage(job_spec, run.stage, parent, base, progress=progress)
        if dataset.facts.fingerprint != plan.data_fingerprint:
            raise StageError(f"the data of {run} changed since it began: nothing can be replayed.")
        trainer = make_trainer(plan, Hardware.of(plan), dataset, base)
        if isinstance(plan.tune, HeadTune):
            dataset = freeze(dataset, trainer, console, interrupts)
        state = load_checkpoint(trainer, before)
        if read_state(last).skipped != state.skipped:
            raise StageError(
                f"{run} passed over batches between steps {before.step} and {last.step}; a replay needs two "
                "checkpoints between which it did not."
            )
        console.start_phase("replaying", last.step - state.step)
        with Batches(
            dataset.train,
            seed=plan.seed,
            start_step=state.step + state.skipped,
            steps=last.step + state.skipped,
            micro_rows=plan.micro_batch,
            batch_rows=plan.batch_rows,
        ) as batches:
            for step, micro_batches in enumerate(batches, state.step):
                if interrupts:
                    return EXIT_STOPPED
                trainer.step(step, micro_batches, skipped=state.skipped)
                console.advance(step + 1 - state.step, f"step {step + 1}")
        console.end_phase()
        differing = [
            *_differing(trainer.weights(), read_tensors(last.path, WEIGHTS)),
            *_differing(dict(trainer.optimizers.state()), read_tensors(last.path, OPTIMIZER)),
        ]
        span = f"{last.step - state.step} steps from {before.step} to {last.step}"
        if differing:
            ranks = max(event.get("ranks", 1) for event in read_events(run) if event["kind"] == "started")
            console.say(
                f"{run}: {span} replayed, and {len(differing)} tensors differ: {differing[0]} …"
                + (
                    f" Up to {ranks} ranks trained it; one, which replays it, rounds otherwise."
                    if ranks > 1
                    else ""
                )
            )
            return EXIT_FAILED
        console.say(f"{run}: {span} replayed; weights and optimizer state are equal bit for bit.")
        return EXIT_FINISHED


def _sources(run: RunFolder, plan: Plan) -> tuple[Spec, Parent | None, Checkpoint | None]:
    """The spec that a run was begun with, and what it started from."""
    created = [event["spec"] for event in read_events(run) if event["kind"] == "created" and "spec" in event]
    if not created:
        raise StageError(f"{run} does not say what spec it was begun with.")
    spec = Spec.model_validate(created[-1])
    if plan.parent is None:
        return spec, None, None
    parent = find_parent(spec, run.stage, root=run.root)
    return spec, replace(parent, record=plan.parent), find_base(plan, run.root)


def _differing(here: dict[str, Tensor], there: dict[str, Tensor]) -> list[str]:
    names = here.keys() | there.keys()
    return sorted(
        name
        for name in names
        if name not in here or name not in there or not torch.equal(here[name].cpu(), there[name])
    )
