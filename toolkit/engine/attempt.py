"""One attempt at training a stage: everything that needs torch."""

from contextlib import suppress
from pathlib import Path

from toolkit.data.dataset import Dataset
from toolkit.data.errors import PreparationStopped
from toolkit.engine.beginning import Place
from toolkit.engine.checkpointing import Saver
from toolkit.engine.console import Console
from toolkit.engine.features import with_features
from toolkit.engine.hardware import Hardware
from toolkit.engine.interrupts import EXIT_FAILED, EXIT_FINISHED, EXIT_STOPPED, Interrupts
from toolkit.engine.loop import Loop
from toolkit.engine.ranks import ALONE, Ranks
from toolkit.engine.recorder import Recorder
from toolkit.engine.recovery import BadBatch
from toolkit.engine.sharded_saver import ShardedSaver
from toolkit.engine.stacks import show_stacks_on_request
from toolkit.engine.summary import summary
from toolkit.engine.trainer import Trainer
from toolkit.engine.weights import read_weights
from toolkit.plan.plan import Plan
from toolkit.plan.probe import ProbeRecord, save_probe, workload_key
from toolkit.spec.tune import HeadTune
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import CorruptCheckpoint, StoreError
from toolkit.store.events import append_event
from toolkit.store.lease import Lease
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder
from toolkit.store.status import State as RunState
from toolkit.targets.target import PooledTask

EXIT_STATUS = {"finished": EXIT_FINISHED, "stopped": EXIT_STOPPED, "failed": EXIT_FAILED}
PROBE_STEPS = 10
"""Steps of an attempt before its speed counts as measured."""


def attempt_training(
    plan: Plan,
    dataset: Dataset,
    base: Checkpoint | None,
    run: RunFolder,
    lease: Lease | None,
    console: Console,
    interrupts: Interrupts,
    attempt: int,
    ranks: Ranks = ALONE,
) -> int:
    """Train from the last good checkpoint to the end, at first from the parent's (`base`); the exit status.

    Args:
        lease: None on ranks other than the first: they compute, and write their parts of checkpoints.

    Raises StoreError.
    """
    assert plan.steps is not None, "the data is prepared, so the length is known"
    show_stacks_on_request(run, attempt, ranks.rank)
    hardware = Hardware.of(plan, ranks.local)
    hardware.forget_peak_memory()
    trainer = make_trainer(plan, hardware, dataset, base, ranks)
    recorder = Recorder(
        run,
        console,
        attempt=attempt,
        steps=plan.steps,
        hang_after=plan.run.hang_after,
        rank=ranks.rank,
    )

    def on_bad(error: CorruptCheckpoint, moved_to: Path) -> None:
        append_event(run, "corrupt", reason=str(error), moved_to=moved_to.name)
        console.warn(f"{error} It is kept as {moved_to.name}; the one before it is used.")

    def announce(checkpoint: Checkpoint) -> None:
        parents = [{"id": parent.id, "role": parent.role} for parent in checkpoint.parents]
        append_event(
            run,
            "checkpoint",
            id=checkpoint.id,
            step=checkpoint.step,
            metrics=checkpoint.metrics,
            parents=parents,
        )

    def fail(error: Exception) -> None:
        with suppress(OSError):  # where a checkpoint can't be written, an event often can't either
            append_event(run, "checkpoint_failed", reason=str(error))
        console.warn(f"{error}{'' if loop.ending else ' Training goes on; the next checkpoint tries again.'}")

    newest = CheckpointStore(run).newest_good(on_bad) if ranks.first else None
    shared = ranks.share(Place.of(newest).model_dump_json() if newest else None)
    start = newest if ranks.first or shared is None else Place.model_validate_json(shared).read()
    tokenizer = dataset.tokenizer.files if dataset.tokenizer else {}
    saver = (
        Saver(plan, run, lease, tokenizer, announce, fail)
        if ranks.alone
        else ShardedSaver(plan, run, lease, tokenizer, announce, fail, ranks)
    )
    if isinstance(plan.tune, HeadTune):
        dataset = freeze(dataset, trainer, console, interrupts)
    loop = Loop(run, plan, dataset, trainer, saver, recorder, interrupts)
    if isinstance(plan.tune, HeadTune) and isinstance(trainer.task, PooledTask):
        rows = dataset.train.n_rows + dataset.validation.n_rows
        loop.state.flops += rows * trainer.task.forward_flops(plan.row_length)  # of the features
    if start:
        loop.restore(start)
        if ranks.first:
            append_event(run, "resumed", attempt=attempt, step=start.step, checkpoint=start.id)
        console.say(f"resumed from step {start.step} of {plan.steps}")
    state: RunState
    reason: str | None = None
    try:
        finished = loop.carry_out()
        state = "finished" if finished else "stopped"
        reason = None if finished else interrupts.reason
    except BadBatch as error:
        state, reason = "failed", str(error)
    finally:
        recorder.close()
        if ranks.alone:
            _keep_speed(plan, loop)
    if saver.failure is not None:
        state, reason = "failed", f"the last checkpoint could not be written: {saver.failure}"
    if not ranks.first:
        return EXIT_STATUS[state]
    append_event(run, state, attempt=attempt, step=loop.state.step, reason=reason, actual=loop.actual())
    recorder.status(state, loop.state, reason)
    if state == "failed":
        console.say(f"error: {reason}. The last good checkpoint is intact.", style="red")
    elif state == "stopped":
        console.say(f"stopped at step {loop.state.step} of {plan.steps} ({reason}); the work is saved.")
    else:
        for line in summary(plan, loop.state, loop.actual(), str(run)):
            console.say(line)
    return EXIT_STATUS[state]


def make_trainer(
    plan: Plan, hardware: Hardware, dataset: Dataset, base: Checkpoint | None, ranks: Ranks = ALONE
) -> Trainer:
    """The trainer of a plan, on its parent's weights where it has one. Raises StoreError."""
    assert plan.steps is not None
    scratch = getattr(plan.task, "start", "parent") == "scratch"
    parent = None if base is None or scratch else read_weights(base)
    try:
        return Trainer(
            plan, hardware, steps=plan.steps, tokenizer=dataset.tokenizer, parent=parent, ranks=ranks
        )
    except RuntimeError as error:
        raise StoreError(f"{plan.parent} does not fit {plan.name}/{plan.stage}: {error}") from error


def freeze(dataset: Dataset, trainer: Trainer, console: Console, interrupts: Interrupts) -> Dataset:
    """The data set as the frozen trunk sees it, where the head stands on one vector a row."""
    if not isinstance(trainer.task, PooledTask):
        return dataset

    def between(done: int, total: int) -> None:
        if interrupts:
            raise PreparationStopped
        console.advance(done)

    console.start_phase("computing features", dataset.train.n_rows + dataset.validation.n_rows)
    frozen = with_features(dataset, trainer, between)
    console.end_phase()
    return frozen


def _keep_speed(plan: Plan, loop: Loop) -> None:
    """Keep the speed of this attempt for later plans on this kind of machine."""
    steps, seconds = loop.steps_here, loop.seconds_here
    if steps < PROBE_STEPS or not loop.positions_here:
        return
    save_probe(
        ProbeRecord(
            machine=plan.machine,
            workload=workload_key(plan),
            tokens_per_second=loop.positions_here / seconds,
            evaluation_tokens_per_second=loop.evaluation_speed or None,
            peak_flops=loop.trainer.peak_flops,
            peak_memory=loop.state.peak_memory,
            seconds=seconds,
        )
    )
