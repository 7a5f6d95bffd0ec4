"""Measured speeds, kept per kind of machine: the engine measures, the plan reads them back."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.plan.corpus import cache_root
from toolkit.plan.fingerprint import fingerprint
from toolkit.store.atomic import write_atomic

if TYPE_CHECKING:
    from toolkit.plan.plan import Plan

PROBE_VERSION = 1
"""Raised when older measurements no longer tell the speed, such as after a faster loop."""


class ProbeRecord(BaseModel):
    """A short measurement of a plan's steps on one kind of machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = PROBE_VERSION
    machine: str
    """`Machine.key`."""
    workload: str
    """`workload_key` of the plan that was measured."""
    tokens_per_second: float = Field(gt=0)
    """Training, whole steps with the optimizer."""
    evaluation_tokens_per_second: float | None = Field(default=None, gt=0)
    peak_flops: float | None = Field(default=None, gt=0)
    """Operations a second of large matrix products in the plan's precision: what MFU is a share of."""
    peak_memory: int | None = Field(default=None, gt=0)
    """Bytes at the highest point of the measurement."""
    seconds: float | None = Field(default=None, gt=0)
    """Length of the measurement."""
    time: float = Field(default_factory=time.time)
    """When it ended, in seconds since 1970."""


def workload_key(plan: "Plan") -> str:
    """Names what a step computes, whatever the data, the length and the learning rates are."""
    optimizer = plan.train.optimizer
    return fingerprint(
        {
            "architecture": plan.architecture.model_dump(mode="json"),
            "task": plan.task.kind,
            "tune": None if plan.tune is None else plan.tune.model_dump(mode="json"),
            "labels": len(plan.labels),
            "optimizer": [optimizer.kind, optimizer.ns_steps if optimizer.kind == "muon" else 0],
            "sequence_length": plan.row_length,
            "batch_rows": plan.batch_rows,
            "micro_batch": plan.micro_batch,
            "precision": plan.precision,
            "device": plan.device.partition(":")[0],
            "compile": plan.run.compile,
        }
    )[:32]


def find_probe(plan: "Plan", *, cache: Path | None = None) -> ProbeRecord | None:
    """The measurement of such a plan on this kind of machine, or None."""
    path = _probe_path(plan.machine, workload_key(plan), cache)
    try:
        record = ProbeRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return record if record.version == PROBE_VERSION else None


def save_probe(record: ProbeRecord, *, cache: Path | None = None) -> None:
    """Keep a measurement in place of an earlier one of the same machine and workload."""
    path = _probe_path(record.machine, record.workload, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, record.model_dump_json(indent=1).encode())


def _probe_path(machine: str, workload: str, cache: Path | None) -> Path:
    return (cache or cache_root()) / "probes" / machine / f"{workload}.json"
