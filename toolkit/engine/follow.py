"""What ranks other than the first do: wait for the plan, then train along."""

from toolkit.data.errors import PreparationStopped
from toolkit.engine.attempt import attempt_training
from toolkit.engine.beginning import Beginning
from toolkit.engine.console import Console, DataProgress
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.errors import StageError
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.job import Job
from toolkit.engine.ranks import PLAN, Ranks


def follow(job: Job, interrupts: Interrupts, ranks: Ranks) -> int:
    """Train along with the first rank; the exit status.

    Raises StageError where the runs folder or the data is not what the first rank sees, PreparationStopped,
    StoreError.
    """
    while (heard := ranks.heard(PLAN)) is None:
        if interrupts:
            raise PreparationStopped("stopped before the data was ready")
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
