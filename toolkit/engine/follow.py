"""What ranks other than the first do: prepare the corpus with it, wait for the plan, then train along."""

from contextlib import suppress

from toolkit.data.errors import DataError, PreparationStopped
from toolkit.engine.attempt import attempt_training
from toolkit.engine.beginning import Beginning
from toolkit.engine.console import Console, DataProgress
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.errors import StageError
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.job import Job
from toolkit.engine.ranks import PLAN, STOPPED, Ranks
from toolkit.spec.spec import PRETRAIN


def follow(job: Job, interrupts: Interrupts, ranks: Ranks) -> int:
    """Train along with the first rank; the exit status.

    Raises StageError where the runs folder or the data is not what the first rank sees, PreparationStopped,
    StoreError.
    """
    _prepare_along(job, interrupts, ranks)
    while (heard := ranks.heard(PLAN)) is None:
        if interrupts:
            raise PreparationStopped("stopped before the data was ready")
    if heard == STOPPED:
        raise PreparationStopped("the first rank was asked to stop before the data was ready")
    found = Beginning.model_validate_json(heard)
    plan = found.plan
    if not job.run.exists():
        raise StageError(
            f"rank {ranks.rank} does not see {job.run.path}. "
            "The runs folder must be on a disk that all machines share: set TK_RUNS."
        )
    with Console(quiet=True) as console:
        progress = DataProgress(console, lambda: bool(interrupts))
        base = found.base.read() if found.base else None
        dataset = prepare_stage(job.spec, job.stage, found.parent, base, progress=progress)
        if dataset.facts.fingerprint != plan.data_fingerprint:
            raise StageError(
                f"rank {ranks.rank} reads other data than the first rank: are the files the same?"
            )
        return attempt_training(plan, dataset, base, job.run, None, console, interrupts, found.attempt, ranks)


def _prepare_along(job: Job, interrupts: Interrupts, ranks: Ranks) -> None:
    """Do a share of a corpus, until the first rank has all of it. What goes wrong is told after the plan, by whoever
    still meets it then."""
    if job.stage != PRETRAIN or job.spec.data.modality != "text":
        return

    def stopping() -> bool:
        return bool(interrupts) or ranks.told(PLAN)

    with Console(quiet=True) as console, suppress(DataError, PreparationStopped):
        progress = DataProgress(console, stopping)
        prepare_stage(job.spec, job.stage, None, None, ranks=ranks, progress=progress)
