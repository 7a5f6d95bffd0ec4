"""What the files of a run say of it, for the commands that read and the dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from toolkit.plan.errors import PlanError
from toolkit.plan.parents import find_parent
from toolkit.plan.plan import Plan
from toolkit.plan.recipe import make_recipe
from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.store.atomic import read_json
from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import BadFile
from toolkit.store.events import read_events
from toolkit.store.health import check_health
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder
from toolkit.store.status import Status

UNREADABLE = "unreadable"
ENDS = ("finished", "stopped", "failed")
MEASURED = ("tokens", "flops", "seconds")
"""What a checkpoint's manifest tells of the run so far."""


def read_state(run: RunFolder) -> tuple[str, Status | None]:
    """The run's state in a word and its status; `unreadable` where the status is damaged."""
    try:
        health, status = check_health(run)
        return health.condition, status
    except BadFile:
        return UNREADABLE, None


def spec_identity(spec: Spec, stage: str, root: Path) -> str:
    """The fingerprint of the plan of a stage, told before the data is prepared. Raises PlanError."""
    parent = None if stage == PRETRAIN else find_parent(spec, stage, root=root)
    return make_recipe(spec, stage, parent, None).fingerprint


@dataclass
class Record:
    """A run as its files tell it. What is missing or of another version is None."""

    run: RunFolder
    state: str
    status: Status | None
    events: Sequence[dict[str, Any]]
    plan: Mapping[str, Any] | None
    """plan.json as it stands there."""
    checkpoints: Sequence[Checkpoint] = field(default_factory=list)

    @classmethod
    def read(cls, run: RunFolder) -> Self:
        """Everything but tensors and metrics over time."""
        state, status = read_state(run)
        try:
            plan = read_json(run.plan)
        except (FileNotFoundError, BadFile):
            plan = None
        return cls(run, state, status, read_events(run), plan, CheckpointStore(run).list())

    @property
    def spec(self) -> Mapping[str, Any] | None:
        """The spec that the run began with, overrides applied."""
        created = [event["spec"] for event in self.events if event["kind"] == "created" and "spec" in event]
        return created[-1] if created and isinstance(created[-1], dict) else None

    @property
    def fingerprint(self) -> str | None:
        """Of the plan; before there is one, of the spec."""
        if self.plan is not None and isinstance(self.plan.get("fingerprint"), str):
            return str(self.plan["fingerprint"])
        if self.spec is None:
            return None
        try:
            return spec_identity(Spec.model_validate(self.spec), self.run.stage, self.run.root)
        except (ValidationError, PlanError):
            return None

    @property
    def readable_plan(self) -> Plan | None:
        """The plan as this version of tk understands it."""
        try:
            return None if self.plan is None else Plan.model_validate(self.plan)
        except ValidationError:
            return None

    @property
    def actual(self) -> dict[str, float] | None:
        """What the run took so far: told at its last end, else by its newest checkpoint."""
        for event in reversed(self.events):
            if event["kind"] in ENDS and isinstance(event.get("actual"), dict):
                return {name: float(value) for name, value in event["actual"].items()}
        if not self.checkpoints:
            return None
        info = self.checkpoints[-1].info
        return {name: float(info[name]) for name in MEASURED if name in info} or None

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        if self.status and self.status.metrics:
            return dict(sorted(self.status.metrics.items()))
        return dict(sorted(self.checkpoints[-1].metrics.items())) if self.checkpoints else {}
