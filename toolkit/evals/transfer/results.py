"""What the runs of a measurement came to, read from their folders."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.engine.job import Job
from toolkit.evals.transfer.design import ARMS, Arm, Design, Trial
from toolkit.plan.errors import PlanError
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import BadFile
from toolkit.store.retention import criterion
from toolkit.store.runs import RunFolder
from toolkit.store.status import read_status
from toolkit.store.tail import read_scalars


@dataclass(frozen=True)
class Outcome:
    """A finished trial."""

    trial: Trial
    run: str
    metric: str
    higher: bool
    """Whether more of the metric is better."""
    score: float
    """At the last step, on all held-out rows."""
    flops: float
    seconds: float
    curve: tuple[tuple[float, float], ...]
    """(FLOPs spent, score) at each evaluation."""


def is_finished(run: RunFolder) -> bool:
    """Whether a run is done, and so is reused."""
    try:
        status = read_status(run) if run.exists() else None
    except BadFile:
        return False
    return status is not None and status.state == "finished"


def pending(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are still to be carried out."""
    return [job for job in jobs if not is_finished(job.run)]


def read_outcome(root: Path, design: Design, trial: Trial) -> Outcome | None:
    """None for a trial that is not finished, or diverged."""
    run = RunFolder(root, design.name, design.run_stage(trial))
    if not is_finished(run):
        return None
    store = CheckpointStore(run)
    made = [*store.pruned(), *store.list()]
    if not made:
        return None
    last = max(made, key=lambda checkpoint: checkpoint.step)
    metric, higher = criterion([last])
    if metric not in last.metrics:
        return None
    flops = float(last.info.get("flops", 0.0))
    series = read_scalars(run.path).get(metric)
    steps = [] if series is None else series.steps.tolist()
    values = [] if series is None else series.values.tolist()
    curve = tuple((flops * step / last.step, value) for step, value in zip(steps, values, strict=True))
    seconds = float(last.info.get("seconds", 0.0))
    return Outcome(trial, str(run), metric, higher, last.metrics[metric], flops, seconds, curve)


def read_outcomes(root: Path, design: Design, trials: Iterable[Trial]) -> list[Outcome]:
    """Those of the trials that are finished."""
    found = (read_outcome(root, design, trial) for trial in trials)
    return [outcome for outcome in found if outcome is not None]


def choose_rates(design: Design, outcomes: Iterable[Outcome]) -> Mapping[tuple[Arm, int], float]:
    """The rate with the best score on the tuning seed, for each arm and count of labels; of equals the smaller.

    Raises PlanError where every rate of one failed.
    """
    if len(design.rates) == 1:
        return {(arm, n): design.rates[0] for arm in ARMS for n in design.labels}
    best: dict[tuple[Arm, int], tuple[float, float]] = {}
    for outcome in outcomes:
        key = (outcome.trial.arm, outcome.trial.labels)
        merit = (outcome.score if outcome.higher else -outcome.score, -outcome.trial.rate)
        if key not in best or merit > best[key]:
            best[key] = merit
    for arm in ARMS:
        for n in design.labels:
            if (arm, n) not in best:
                raise PlanError(
                    f"no rate works for {n} labels from {arm}: every run failed. Try smaller --rates"
                )
    return {key: -rate for key, (_, rate) in best.items()}
