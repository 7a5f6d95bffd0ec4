"""`tk ls`: the runs there are."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from toolkit.cli.options import Json, Runs

if TYPE_CHECKING:
    from toolkit.store.slurm import Queued

SHOWN = {"val/loss": "VAL/LOSS", "val/bits_per_byte": "BITS/BYTE"}


def ls(runs: Runs = None, as_json: Json = False) -> None:
    """List the runs: state, step, last results. Of runs in SLURM's queue: queued, requeued, running.

    \b
    Examples:
      tk ls
      tk ls --json
    """
    from toolkit.cli.output import number, say, say_json, say_table
    from toolkit.plan.record import read_state
    from toolkit.store.health import ACTIVE
    from toolkit.store.runs import find_runs, runs_root
    from toolkit.store.slurm import queued

    root = runs_root(runs)
    found = [(run, *read_state(run)) for run in find_runs(root)]
    jobs = queued(run for run, _, _ in found)
    # Between two jobs the status still tells how the last one ended.
    found = [
        (run, jobs[run].word if run in jobs and state not in ACTIVE else state, status)
        for run, state, status in found
    ]
    if as_json:
        say_json(
            [
                {
                    "run": str(run),
                    "path": str(run.path),
                    "job": _job(jobs.get(run)),
                    "state": state,
                    "step": status.step if status else None,
                    "steps": status.steps if status else None,
                    "metrics": status.metrics if status else {},
                    "best": status.best.model_dump() if status and status.best else None,
                    "updated": status.time if status else None,
                }
                for run, state, status in found
            ]
        )
        return
    if not found:
        say(f"No runs in {root} yet: `tk run SPEC` begins one.")
        return
    rows = [
        [
            str(run),
            state,
            "-" if status is None else f"{status.step}/{status.steps or '?'}",
            *(number(status.metrics.get(name) if status else None) for name in SHOWN),
            "-" if status is None else _when(status.time),
        ]
        for run, state, status in found
    ]
    say_table(["RUN", "STATE", "STEP", *SHOWN.values(), "UPDATED"], rows, right=(2, 3, 4))


def _job(job: "Queued | None") -> dict[str, object] | None:
    return asdict(job) if job else None


def _when(time: float) -> str:
    from datetime import datetime

    try:
        return datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "-"
