"""Which runs a measurement needs: pure planning."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from toolkit.engine.job import Job
from toolkit.plan.errors import PlanError
from toolkit.spec.duration import Interval, TrainLength
from toolkit.spec.run import Keep
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.spec.target import Finetune
from toolkit.spec.toml import toml_key, toml_value
from toolkit.spec.train import AdamW, Optimizer
from toolkit.spec.tune import FullTune
from toolkit.store.runs import NAME

Arm = Literal["parent", "scratch"]
ARMS: tuple[Arm, ...] = ("parent", "scratch")
EVALUATIONS = 10
"""Of each run: what its curve of score against compute is read from."""
NEVER = Interval.parse("1B steps")


class Trial(NamedTuple):
    """One run of the measurement."""

    arm: Arm
    labels: int
    rate: float
    """Times the target's own learning rates."""
    seed: int
    """Draws the labels, and seeds the head, the order of the rows and, from scratch, the trunk."""


@dataclass(frozen=True)
class Design:
    """What is compared.

    `tuning` runs every rate once, on a seed of its own; `measured` runs the chosen ones on the seeds that are
    reported. Both arms get the same labels, steps, rates and seeds.
    """

    name: str
    """Folder of the runs."""
    stage: str
    """The target."""
    parent: str
    """NAME/STAGE@CHECKPOINT that it starts from."""
    labels: tuple[int, ...]
    total: int
    """Training rows there are."""
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    tuning_seed: int
    steps: int

    def tuning(self) -> list[Trial]:
        """Runs that choose the rates; none where there is one rate only."""
        if len(self.rates) == 1:
            return []
        return [
            Trial(arm, n, rate, self.tuning_seed) for n in self.labels for arm in ARMS for rate in self.rates
        ]

    def measured(self, chosen: Mapping[tuple[Arm, int], float]) -> list[Trial]:
        """Runs that are reported."""
        return [
            Trial(arm, n, chosen[arm, n], seed) for n in self.labels for arm in ARMS for seed in self.seeds
        ]

    def run_stage(self, trial: Trial) -> str:
        """Stage name of a trial's run."""
        rate = f"{trial.rate:g}".replace(".", "p").replace("+", "")
        base = self.stage
        if len(base) > 24:
            base = f"{base[:17]}-{hashlib.blake2b(base.encode(), digest_size=3).hexdigest()}"
        return f"{base}-n{trial.labels}-{trial.arm}-x{rate}-s{trial.seed}"


def choose_stage(spec: Spec, asked: str | None) -> str:
    """The target that is meant. Raises PlanError where it isn't clear."""
    targets = [stage for stage in spec.stages if stage != PRETRAIN]
    if asked is not None:
        if asked not in targets:
            raise PlanError(f'{spec.name} has no target "{asked}". It has: {", ".join(targets) or "none"}.')
        return asked
    if len(targets) != 1:
        which = f"several targets: {', '.join(targets)}. Choose one" if targets else "no [finetune.NAME]"
        raise PlanError(
            f"{spec.name} has {which}" + (" with --stage." if targets else "; a target is needed.")
        )
    return targets[0]


def folder_name(spec: Spec, asked: str | None = None) -> str:
    """Name under which the runs stand: the spec's with `.transfer`, shortened where it is long."""
    name = asked or f"{spec.name[:54]}.transfer"
    if not NAME.fullmatch(name):
        raise PlanError(f"{name!r} can't name a run")
    return name


def parse_labels(text: str, total: int) -> tuple[int, ...]:
    """`1%,3%,100%` or `50,500` as counts, ascending, each once. Raises PlanError."""
    counts = set()
    for part in (piece.strip() for piece in text.split(",")):
        try:
            count = max(1, round(float(part[:-1]) / 100 * total)) if part.endswith("%") else int(float(part))
        except (ValueError, OverflowError):
            raise PlanError(f"{part!r} is neither a count nor a share such as 3%") from None
        if not 1 <= count <= total:
            raise PlanError(f"{part} is not between 1 and the {total:,} labels there are")
        counts.add(count)
    return tuple(sorted(counts))


def make_jobs(
    spec: Spec,
    design: Design,
    trials: Iterable[Trial],
    root: Any,
    optimizers: Mapping[Arm, Optimizer],
    *,
    keep: bool,
) -> list[Job]:
    """The trials as jobs. `optimizers` have the target's own rates, `keep` keeps the runs' weights."""
    jobs = []
    for trial in trials:
        made = make_spec(spec, design, trial, optimizers[trial.arm])
        jobs.append(
            Job(
                root=root,
                name=design.name,
                stage=design.run_stage(trial),
                spec=made,
                text=to_toml(made),
                quiet=True,
                keep_weights=keep,
            )
        )
    return jobs


def make_spec(spec: Spec, design: Design, trial: Trial, optimizer: Optimizer) -> Spec:
    """A spec of one stage, which runs by itself too."""
    target = spec.finetune[design.stage]
    limit = target.data.limit if trial.labels == design.total else trial.labels
    section = target.model_copy(
        update={
            "parent": None,
            **of_arm(trial.arm, target),
            "data": target.data.model_copy(update={"limit": limit}),
            "duration": TrainLength(design.steps, "steps"),
            "optimizer": scaled(optimizer, trial.rate),
        }
    )
    run = spec.run.model_copy(
        update={
            "evaluate_every": Interval(max(1, math.ceil(design.steps / EVALUATIONS)), "steps"),
            "sample_every": NEVER,
            "keep": Keep(last=2, best=0),
        }
    )
    return Spec(
        name=design.name,
        description=f"{design.stage} {'from' if trial.arm == 'parent' else 'shaped as'} {design.parent}, "
        f"{trial.labels} labels, {trial.rate:g} times the learning rate",
        seed=trial.seed,
        parent=design.parent,
        run=run,
        finetune={design.run_stage(trial): section},
    )


def of_arm(arm: Arm, target: Finetune) -> dict[str, Any]:
    """What an arm changes of the target. From scratch there is nothing that could stay as it is, nor a head to ask
    what is surprising."""
    if arm == "parent":
        return {"start": arm}
    pool = {"pool": None} if getattr(target, "pool", None) == "surprisal" else {}
    return {"start": arm, "tune": FullTune(kind="full"), **pool}


def scaled(optimizer: Optimizer, factor: float) -> Optimizer:
    """The optimizer with its learning rates multiplied."""
    names = ("lr",) if isinstance(optimizer, AdamW) else ("lr", "embedding_lr", "head_lr", "scalar_lr")
    return optimizer.model_copy(
        update={name: float(f"{getattr(optimizer, name) * factor:.6g}") for name in names}
    )


def to_toml(spec: Spec) -> str:
    """The spec as a file that `tk run` reads: what differs from the defaults."""
    values = spec.model_dump(mode="json", exclude_defaults=True)
    tables = {name: values.pop(name) for name in ("run", "finetune") if name in values}
    lines = [f"{name} = {toml_value(value)}" for name, value in values.items()]
    for stage, target in tables.get("finetune", {}).items():
        lines += ["", f"[finetune.{toml_key(stage)}]"]
        kinds = {"kind": spec.finetune[stage].kind}
        lines += [f"{key} = {toml_value(_plain(value))}" for key, value in {**kinds, **target}.items()]
    if "run" in tables:
        lines += ["", "[run]", *(f"{key} = {toml_value(_plain(v))}" for key, v in tables["run"].items())]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """Without what TOML has no form for."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    return value
