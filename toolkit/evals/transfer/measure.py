"""From a spec to a design, and from finished runs to a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.data.progress import Progress
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.job import Job
from toolkit.evals.transfer.design import Arm, Design, Trial, folder_name, make_jobs, of_arm, parse_labels
from toolkit.evals.transfer.report import Pretraining, TransferReport, make_report
from toolkit.evals.transfer.results import choose_rates, read_outcomes
from toolkit.plan.errors import PlanError
from toolkit.plan.parents import find_parent, find_parent_checkpoint, read_reference
from toolkit.plan.plan import known_facts, plan_here
from toolkit.plan.recipe import make_recipe
from toolkit.spec.spec import Spec
from toolkit.spec.train import Optimizer
from toolkit.store.lineage import read_graph
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder


@dataclass(frozen=True)
class Measurement:
    """A design on a machine: its jobs in two waves, the second known when the first is done."""

    spec: Spec
    design: Design
    root: Path
    optimizers: Mapping[Arm, Optimizer]
    """With the rates that the trials' are multiples of: the target's, or by default those that suit the arm."""
    pretraining: Pretraining
    keep: bool

    def tuning(self) -> list[Job]:
        return self._jobs(self.design.tuning())

    def measured(self) -> list[Job]:
        """Raises PlanError where no rate works."""
        design = self.design
        chosen = choose_rates(design, read_outcomes(self.root, design, design.tuning()))
        return self._jobs(design.measured(chosen))

    def _jobs(self, trials: Sequence[Trial]) -> list[Job]:
        return make_jobs(self.spec, self.design, trials, self.root, self.optimizers, keep=self.keep)

    def report(self) -> TransferReport:
        """Raises PlanError where too few runs are finished."""
        design = self.design
        tuned = read_outcomes(self.root, design, design.tuning())
        chosen = choose_rates(design, tuned)
        trials = design.measured(chosen)
        found = read_outcomes(self.root, design, trials)
        if not found:
            raise PlanError("no run is finished")
        missing = {design.run_stage(trial) for trial in trials} - {
            design.run_stage(item.trial) for item in found
        }
        return make_report(design, chosen, tuned, found, self.pretraining, sorted(missing))


def plan_measurement(
    spec: Spec,
    stage: str,
    root: Path,
    *,
    labels: str,
    seeds: int,
    rates: Sequence[float],
    steps: int | None,
    name: str | None,
    keep: bool,
    progress: Progress | None = None,
) -> Measurement:
    """The parent must be trained. Prepares the labelled rows where that was not done yet.

    Raises PlanError for a parent without a checkpoint, DataError, and for labels that there are not.
    """
    parent = find_parent(spec, stage, root=root)
    reference = read_reference(spec, stage, root)
    checkpoint = find_parent_checkpoint(reference.run, reference.selector, parent.record.fingerprint)
    if checkpoint is None:
        raise PlanError(f"the parent {parent.record} has no such checkpoint. Train it first.")
    facts = known_facts(spec, stage, parent)
    if facts is None:
        facts = prepare_stage(spec, stage, parent, checkpoint, progress=progress).facts
    plan = plan_here(spec, stage, runs=root)
    total = facts.train.rows
    design = Design(
        name=folder_name(spec, name),
        stage=stage,
        parent=str(reference.run) + (f"@{reference.selector}" if reference.selector else ""),
        labels=parse_labels(labels, total),
        total=total,
        rates=tuple(sorted(set(rates))),
        seeds=tuple(spec.seed + number for number in range(1, seeds + 1)),
        tuning_seed=spec.seed,
        steps=steps or plan.steps or 1,
    )
    target = spec.finetune[stage]
    scratch = target.model_copy(update=of_arm("scratch", target))
    beside = spec.model_copy(update={"finetune": {**spec.finetune, stage: scratch}})
    optimizers: dict[Arm, Optimizer] = {
        "parent": plan.train.optimizer,
        "scratch": make_recipe(beside, stage, parent, facts).train.optimizer,
    }
    cost = _cost(reference.run, checkpoint, root)
    return Measurement(spec, design, root, optimizers, cost, keep)


def _cost(run: RunFolder, checkpoint: Checkpoint, root: Path) -> Pretraining:
    flops = float(checkpoint.info.get("ancestry_flops", checkpoint.info.get("flops", 0.0)))
    node = read_graph(root).nodes.get(str(run))
    seconds = None
    if node is not None and node.ancestry.seconds is not None and node.own.seconds is not None:
        inherited = node.ancestry.seconds - node.own.seconds
        seconds = float(checkpoint.info.get("seconds", 0.0)) + inherited
    return Pretraining(flops or None, seconds)
