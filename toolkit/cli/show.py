"""`tk show`: one run in full."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from toolkit.cli.options import Json, Run, Runs

if TYPE_CHECKING:
    from toolkit.plan.record import Record
    from toolkit.store.manifest import Checkpoint


def show(run: Run, runs: Runs = None, as_json: Json = False) -> None:
    """Show a run.

    Where it stands, its plan beside what it took, the last metrics, the checkpoints.

    \b
    Examples:
      tk show gpt_small
      tk show gpt_small/pretrain --json
    """
    from toolkit.cli.output import say_json
    from toolkit.plan.record import Record
    from toolkit.store.runs import open_run, runs_root

    record = Record.read(open_run(runs_root(runs), run))
    if as_json:
        say_json(_fields(record))
    else:
        _print(record)


def _fields(record: "Record") -> dict[str, Any]:
    status, plan = record.status, record.plan
    return {
        "run": str(record.run),
        "path": str(record.run.path),
        "state": record.state,
        "step": status.step if status else 0,
        "steps": status.steps if status else None,
        "attempt": status.attempt if status else 0,
        "reason": status.reason if status else None,
        "updated": status.time if status else None,
        "metrics": record.metrics,
        "best": status.best.model_dump() if status and status.best else None,
        "fingerprint": record.fingerprint,
        "parent": plan.get("parent") if plan else None,
        "spec": record.spec,
        "plan": plan,
        "actual": record.actual,
        "checkpoints": [
            {
                "id": item.id,
                "step": item.step,
                "path": str(item.path),
                "bytes": item.size,
                "metrics": item.metrics,
                "parents": [{"id": parent.id, "role": parent.role} for parent in item.parents],
            }
            for item in record.checkpoints
        ],
    }


def _print(record: "Record") -> None:
    from toolkit.cli.output import BOLD, STATES, number, paint, say_rows, say_table

    status = record.status
    print(f"{paint(str(record.run), BOLD)}  {paint(record.state, STATES.get(record.state, BOLD))}")
    say_rows(list(_facts(record)))
    plan, actual = record.readable_plan, record.actual or {}
    if plan is not None:
        from toolkit.plan.report import plan_beside_actual

        print()
        rows = [
            [row.name, _figure(row.name, row.planned), _figure(row.name, row.actual), number(row.ratio)]
            for row in plan_beside_actual(plan, actual)
        ]
        say_table(["", "PLANNED", "ACTUAL", "RATIO"], rows, right=(1, 2, 3))
    if record.metrics:
        print()
        say_table(
            ["METRIC", "LAST"], [[name, number(value)] for name, value in record.metrics.items()], right=(1,)
        )
    if record.checkpoints:
        print()
        best = status.best.step if status and status.best else None
        rows = [_checkpoint(item, best) for item in record.checkpoints]
        say_table(["CHECKPOINT", "ID", "SIZE", "TRAIN/LOSS", "VAL/LOSS", ""], rows, right=(2, 3, 4))


def _facts(record: "Record") -> Iterator[tuple[str, str]]:
    from toolkit.store.lease import read_holder

    status = record.status
    yield "path", str(record.run.path)
    if status:
        yield "step", f"{status.step} of {status.steps or '?'}, attempt {status.attempt}"
        if status.reason:
            yield "reason", status.reason
        if status.best:
            yield "best", f"{status.best.metric} {status.best.value:.4f} at step {status.best.step}"
    if holder := read_holder(record.run):
        yield "held by", f"process {holder.process.pid} on {holder.process.host}"
    if record.fingerprint:
        yield "fingerprint", record.fingerprint[:16]
    if record.readable_plan and record.readable_plan.parent:
        yield "parent", str(record.readable_plan.parent)


def _figure(name: str, value: float | None) -> str:
    from toolkit.cli.output import number
    from toolkit.plan.figures import length_of_time, size

    if value is None:
        return "-"
    if name == "seconds":
        return length_of_time(value)
    return size(value) if name == "peak_memory" else number(value)


def _checkpoint(item: "Checkpoint", best: int | None) -> list[str]:
    from toolkit.cli.output import number
    from toolkit.plan.figures import size

    losses = [number(item.metrics.get(name)) for name in ("train/loss", "val/loss")]
    return [f"step_{item.step}", item.id[:12], size(item.size), *losses, "best" if item.step == best else ""]
