"""`tk diff`: two runs side by side."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli.options import Json, Run, Runs

if TYPE_CHECKING:
    from toolkit.plan.record import Record


def diff(
    a: Run,
    b: Run,
    every_metric: Annotated[
        bool, typer.Option("--all", help="All metrics; otherwise losses and what the runs took.")
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Compare two runs.

    What differs in their specs, and what came of it. Keys marked with a star change the result, and so
    the fingerprint; the others say how a run is called and carried out.

    \b
    Examples:
      tk diff gpt_small short
      tk diff gpt_small/pretrain short/pretrain --json
    """
    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import number, say, say_json, say_table
    from toolkit.cli.words import line
    from toolkit.plan.record import Record
    from toolkit.spec.diff import diff_specs
    from toolkit.store.runs import open_run, runs_root

    root = runs_root(runs)
    first, second = (Record.read(open_run(root, name)) for name in (a, b))
    for record in (first, second):
        if record.spec is None:
            raise BadInput(f"{record.run} does not tell which spec it began with: {record.run.events}")
    found = diff_specs(first.spec or {}, second.spec or {})
    found.sort(key=lambda change: not change.identity)
    results = _beside(first, second)
    same = first.fingerprint is not None and first.fingerprint == second.fingerprint
    if as_json:
        say_json(
            {
                "a": str(first.run),
                "b": str(second.run),
                "same_fingerprint": same,
                "spec": [change._asdict() for change in found],
                "metrics": {name: {"a": left, "b": right} for name, (left, right) in results.items()},
            }
        )
        return
    for change in found:
        say(line(change))
    if not found:
        say("The specs are equal.")
    elif any(change.identity for change in found):
        say("* changes the result")
    shown = results if every_metric else {name: pair for name, pair in results.items() if _matters(name)}
    if shown:
        print()
        rows = [
            [name, number(left), number(right), _difference(left, right)]
            for name, (left, right) in shown.items()
        ]
        say_table(["", str(first.run), str(second.run), "B - A"], rows, right=(1, 2, 3))


Pair = tuple[float | None, float | None]


def _beside(first: "Record", second: "Record") -> dict[str, Pair]:
    """Step, metrics and what the runs took, of both."""
    left, right = _results(first), _results(second)
    return {
        name: (left.get(name), right.get(name))
        for name in [*left, *(name for name in right if name not in left)]
    }


def _results(record: "Record") -> dict[str, Any]:
    step = {"step": float(record.status.step)} if record.status else {}
    return {**step, **record.metrics, **{f"actual/{k}": v for k, v in (record.actual or {}).items()}}


def _matters(name: str) -> bool:
    return name.startswith(("val/", "actual/")) or name in ("step", "train/loss")


def _difference(left: float | None, right: float | None) -> str:
    if left is None or right is None:
        return ""
    from toolkit.cli.output import number

    return f"{'+' if right > left else ''}{number(right - left)}"
