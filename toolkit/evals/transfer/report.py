"""The report of a measurement: score against labels, labels saved, compute saved, and what pays the pretraining
back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from toolkit.evals.transfer.analysis import Reach, Spread, apart, mean_curve, pay_back, reach, spread
from toolkit.evals.transfer.design import ARMS, Arm, Design
from toolkit.evals.transfer.results import Outcome
from toolkit.plan.errors import PlanError


class Pretraining(NamedTuple):
    """What the parent had cost, its own parents included. None is what isn't known."""

    flops: float | None
    seconds: float | None


@dataclass(frozen=True)
class Row:
    """One count of labels."""

    labels: int
    parent: Spread
    scratch: Spread
    rates: Mapping[Arm, float]
    """Chosen, as multiples of the target's own."""
    gain: float
    """Mean score from the parent minus that from scratch; above zero when the parent is better."""
    apart: bool | None
    """Whether the confidence intervals leave a gap in the parent's favour."""
    labels_from_scratch: Reach
    """Labels with which a run from scratch is as good as the parent's with `labels`."""
    equal_score: float
    """The worse arm's mean: what both reach."""
    compute: Mapping[Arm, Reach]
    """FLOPs of a fine-tune until its mean score is `equal_score`."""
    pays_back_after: int | None
    """Fine-tunes that save the pretraining's FLOPs at `equal_score`; None where they save none."""

    @property
    def labels_saved(self) -> float:
        """How many more labels scratch needs; a bound where `labels_from_scratch` is one."""
        return self.labels_from_scratch.value - self.labels


@dataclass(frozen=True)
class TransferReport:
    """All of it."""

    design: Design
    metric: str
    higher: bool
    pretraining: Pretraining
    rows: tuple[Row, ...]
    runs: int
    flops: float
    """Of all runs of the measurement."""
    seconds: float
    failed: tuple[str, ...] = ()
    """Runs that diverged, left out of the means."""
    notes: tuple[str, ...] = field(default_factory=tuple)
    """What limits the result."""


def make_report(
    design: Design,
    chosen: Mapping[tuple[Arm, int], float],
    tuned: Sequence[Outcome],
    measured: Sequence[Outcome],
    pretraining: Pretraining,
    failed: Sequence[str] = (),
) -> TransferReport:
    """Raises PlanError where no run of an arm is finished for a count of labels."""
    metric, higher = measured[0].metric, measured[0].higher
    groups: dict[tuple[Arm, int], list[Outcome]] = {}
    for outcome in measured:
        groups.setdefault((outcome.trial.arm, outcome.trial.labels), []).append(outcome)
    scores = {key: spread([outcome.score for outcome in group]) for key, group in groups.items()}
    for n in design.labels:
        for arm in ARMS:
            if (arm, n) not in scores:
                raise PlanError(f"no run with {n} labels from {arm} is finished")
    from_scratch = [(float(n), scores["scratch", n].mean) for n in design.labels]
    sign = 1 if higher else -1
    rows = []
    for n in design.labels:
        parent, scratch = scores["parent", n], scores["scratch", n]
        equal = min(parent.mean, scratch.mean) if higher else max(parent.mean, scratch.mean)
        compute = {arm: _compute(groups[arm, n], equal, higher) for arm in ARMS}
        saving = None
        if pretraining.flops and sign * (parent.mean - scratch.mean) > 0:
            saving = pay_back(pretraining.flops, compute["scratch"].value, compute["parent"].value)
        rows.append(
            Row(
                labels=n,
                parent=parent,
                scratch=scratch,
                rates={arm: chosen[arm, n] for arm in ARMS},
                gain=sign * (parent.mean - scratch.mean),
                apart=apart(parent, scratch, higher=higher),
                labels_from_scratch=reach(from_scratch, parent.mean, higher=higher, logarithmic=True),
                equal_score=equal,
                compute=compute,
                pays_back_after=saving,
            )
        )
    every = [*tuned, *measured]
    return TransferReport(
        design=design,
        metric=metric,
        higher=higher,
        pretraining=pretraining,
        rows=tuple(rows),
        runs=len(every),
        flops=math.fsum(outcome.flops for outcome in every),
        seconds=math.fsum(outcome.seconds for outcome in every),
        failed=tuple(failed),
        notes=tuple(_notes(design, rows, pretraining, failed)),
    )


def to_json(report: TransferReport) -> dict[str, Any]:
    """Plain values, None for what isn't known; `labels_saved` is worked out."""
    rows = [{**asdict(row), "labels_saved": row.labels_saved} for row in report.rows]
    for row, fields in zip(report.rows, rows, strict=True):
        fields |= {arm: getattr(row, arm)._asdict() for arm in ARMS}
        fields["labels_from_scratch"] = row.labels_from_scratch._asdict()
        fields["compute"] = {arm: point._asdict() for arm, point in row.compute.items()}
    made = {**asdict(report), "rows": rows, "pretraining": report.pretraining._asdict()}
    return {name: _known(value) for name, value in made.items()}


def _known(value: Any) -> Any:
    """NaN, which JSON has no form for, as None."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {name: _known(item) for name, item in value.items()}
    return [_known(item) for item in value] if isinstance(value, list | tuple) else value


def _compute(group: Sequence[Outcome], wanted: float, higher: bool) -> Reach:
    """From the mean curve, whose last point is the mean of what is reported: no row of the last evaluation is left
    out, while those before it may be cut short."""
    ends = [[*outcome.curve[:-1], (outcome.flops, outcome.score)] for outcome in group]
    return reach(mean_curve(ends), wanted, higher=higher)


def _notes(
    design: Design, rows: Sequence[Row], pretraining: Pretraining, failed: Sequence[str]
) -> Iterator[str]:
    n = len(design.seeds)
    yield (
        f"Seeds draw the labels, the head, the order and (from scratch) the trunk. There is one pretraining: how much "
        f"another would differ is not in the error bars, which are 95 % intervals of the mean over {n} seed"
        f"{'s' if n > 1 else ''}."
    )
    if len(design.rates) > 1:
        yield (
            "Rates were chosen per arm and count of labels on the held-out rows, with seed "
            f"{design.tuning_seed}, which is not among those reported. Both arms have the same grid; the held-out "
            "rows are the same."
        )
    for arm in ARMS:
        edge = [row.labels for row in rows if _at_edge(design, row.rates[arm])]
        if edge:
            counts = ", ".join(map(str, edge))
            yield f"{arm}: the best rate is at the end of the grid with {counts} labels. Wider --rates may be fairer."
    for row in rows:
        if row.apart is False and row.gain > 0:
            yield f"{row.labels} labels: the error bars overlap; the gain may be chance."
    if pretraining.flops is None:
        yield "What the parent's pretraining took is not known, so nothing is said of paying it back."
    if failed:
        yield f"{len(failed)} runs failed and are left out: {', '.join(failed[:4])}{' …' if len(failed) > 4 else ''}"


def _at_edge(design: Design, rate: float) -> bool:
    return len(design.rates) > 1 and rate in (min(design.rates), max(design.rates))
