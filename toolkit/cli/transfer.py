"""`tk transfer`: what the pretraining is worth to a fine-tune, measured."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Json, OneStage, Overrides, Runs, Spec

if TYPE_CHECKING:
    from toolkit.engine.job import Job
    from toolkit.evals.transfer.measure import Measurement
    from toolkit.evals.transfer.report import TransferReport
    from toolkit.spec.load import LoadedSpec


def transfer(
    spec: Spec,
    overrides: Overrides = None,
    stage: OneStage = None,
    labels: Annotated[
        str, typer.Option(metavar="LIST", help="Counts or shares of the training labels.")
    ] = "1%,3%,10%,30%,100%",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that are reported.")] = 3,
    rates: Annotated[
        str, typer.Option(metavar="LIST", help="Learning rates to choose from, times the target's own.")
    ] = "0.3,1,3",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of every run. Default: the target's duration.")
    ] = None,
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Folder of the runs. Default: SPEC.transfer")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Begin again; the runs that are there are set aside.")
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the runs' checkpoints; else scores and curves alone.")
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Measure what the pretraining bought.

    A target is trained from its pretrained parent and from scratch, on growing shares of the labels and with
    several seeds: equal steps, the same learning rates to choose from. Reported are score against labels, the
    labels and the compute that the pretraining saves, and after how many fine-tunes it is paid back.

    The runs are ordinary ones in runs/SPEC.transfer. What is stopped goes on with the same command, and what is
    finished is reused, also when labels or seeds are added.

    \b
    Examples:
      tk transfer specs/gpt_small.toml --stage module_classifier
      tk transfer specs/news_transfer.toml --labels 50,100,500 --seeds 5
      tk transfer specs/news_transfer.toml --steps 100 --rates 1 --json

    \b
    Exit status:
      0   measured
      75  stopped with the work saved: the same command goes on
      1   a run failed; the report leaves it out
      2   bad input: nothing was run
    """
    from contextlib import nullcontext

    from toolkit.cli.output import results_apart, say_json
    from toolkit.spec.load import load_spec
    from toolkit.store.runs import runs_root

    loaded, root = load_spec(spec, overrides or ()), runs_root(runs)
    with results_apart() if as_json else nullcontext():
        measurement, failed = _measure(
            loaded, root, stage, labels, seeds, rates, steps, as_name, replace, keep_weights
        )
        report = measurement.report()
        files = _save(report, root)
    if as_json:
        from toolkit.evals.transfer.report import to_json

        say_json({**to_json(report), "files": [str(path) for path in files]})
    else:
        _print(report, files)
    if failed or report.failed:
        raise typer.Exit(1)


def _measure(
    loaded: "LoadedSpec",
    root: Path,
    stage: str | None,
    labels: str,
    seeds: int,
    rates: str,
    steps: int | None,
    as_name: str | None,
    replace: bool,
    keep: bool,
) -> "tuple[Measurement, int]":
    """The measurement with its runs carried out, and the exit status of those that failed."""
    from toolkit.cli.errors import BadInput

    try:
        factors = [float(part) for part in rates.split(",")]
        if not all(0 < factor < 1e6 for factor in factors):
            raise ValueError
    except ValueError:
        raise BadInput(f"--rates {rates}: write numbers above zero, such as 0.3,1,3") from None
    from toolkit.evals.transfer.design import choose_stage, folder_name, parse_labels

    target = choose_stage(loaded.spec, stage)
    folder_name(loaded.spec, as_name)
    parse_labels(labels, sys.maxsize)
    _train_parents(loaded, target, root)
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.evals.transfer.measure import plan_measurement

    measurement = plan_measurement(
        loaded.spec,
        target,
        root,
        labels=labels,
        seeds=seeds,
        rates=factors,
        steps=steps,
        name=as_name,
        keep=keep,
    )
    failed = _carry_out(measurement.tuning(), "choosing rates", replace)
    failed |= _carry_out(measurement.measured(), "measuring", replace)
    return measurement, failed


def _train_parents(loaded: "LoadedSpec", stage: str, root: Path) -> None:
    from toolkit.cli.stages import check, is_complete, make_jobs
    from toolkit.engine.supervisor import supervise

    *parents, _ = make_jobs(loaded, stage, root)
    check(parents, replace=False)
    for job in parents:
        if not (job.run.exists() and is_complete(job)) and (status := supervise(job)):
            raise typer.Exit(status)


def _carry_out(jobs: "list[Job]", what: str, replace: bool) -> int:
    """0, or 1 where some failed. Raises Exit where they were stopped or can't be carried out."""
    from toolkit.cli.output import say
    from toolkit.cli.stages import check, put_aside
    from toolkit.engine.interrupts import EXIT_FAILED
    from toolkit.engine.queue import supervise_queue
    from toolkit.evals.transfer.results import pending

    if replace:
        for job in jobs:
            if job.run.exists():
                put_aside(job)
    check(jobs, replace=False)
    waiting = pending(jobs)
    if not jobs:
        return 0
    reused = len(jobs) - len(waiting)
    say(f"{what}: {len(waiting)} runs" + (f", {reused} more are finished and reused" if reused else ""))
    if not waiting:
        return 0
    status = supervise_queue(waiting)
    if status not in (0, EXIT_FAILED):
        raise typer.Exit(status)
    return status


def _save(report: "TransferReport", root: Path) -> list[Path]:
    """The report beside its runs: JSON, PNG, SVG and a figure for TensorBoard."""
    from toolkit.evals.transfer.picture import draw, save
    from toolkit.evals.transfer.report import to_json
    from toolkit.store.atomic import to_json as encode
    from toolkit.store.atomic import write_atomic

    folder = root / report.design.name / f"report-{report.design.stage}"[:64]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "report.json", encode(to_json(report)) + b"\n")
    return [folder / "report.json", *save(draw(report), folder, "transfer")]


def _print(report: "TransferReport", files: list[Path]) -> None:
    from toolkit.cli.output import say, say_table
    from toolkit.plan.figures import flop, length_of_time

    design = report.design
    print()
    say(
        f"{report.metric} of {design.stage} after {design.steps} steps, from {design.parent} and from scratch: "
        f"mean and 95 % interval over {len(design.seeds)} seeds"
    )
    header = ["LABELS", "PRETRAINED", "SCRATCH", "GAIN", "", "SCRATCH NEEDS"]
    say_table(header, [_score_row(row) for row in report.rows], right=(0, 1, 2, 3))
    if any(row.apart for row in report.rows):
        print("* the intervals are apart")
    print()
    cost = report.pretraining
    print("compute of a fine-tune until the lower of the two scores is reached")
    header = ["LABELS", "SCORE", "PRETRAINED", "SCRATCH", "RATIO", "WITH PRETRAINING", "PAID BACK AFTER"]
    rows = [_compute_row(row, cost.flops) for row in report.rows]
    say_table(header, rows, right=range(6))
    print()
    if cost.flops is not None:
        time = "" if cost.seconds is None else f", {length_of_time(cost.seconds)}"
        print(f"pretraining   {flop(cost.flops)}{time}")
    print(f"measurement   {report.runs} runs, {flop(report.flops)}, {length_of_time(report.seconds)}")
    for note in report.notes:
        say(f"note: {note}")
    for path in files:
        say(str(path))


def _score_row(row: "object") -> list[str]:
    from toolkit.evals.transfer.report import Row

    assert isinstance(row, Row)
    needs, mark = row.labels_from_scratch, {True: "*", False: "", None: ""}[row.apart]
    if row.gain <= 0:
        needs_text = f"no more than {row.labels:,}"
    else:
        prefix = {"at": "about ", "at most": "at most ", "more than": "more than "}[needs.bound]
        factor = needs.value / row.labels
        needs_text = f"{prefix}{round(needs.value):,} ({factor:.1f} times)"
    return [
        f"{row.labels:,}",
        _spread(row.parent),
        _spread(row.scratch),
        f"{row.gain:+.3f}",
        mark,
        needs_text,
    ]


def _spread(spread: "object") -> str:
    from toolkit.evals.transfer.analysis import Spread

    assert isinstance(spread, Spread)
    return f"{spread.mean:.3f}" if spread.n < 2 else f"{spread.mean:.3f} ± {spread.half:.3f}"


def _compute_row(row: "object", pretraining: float | None) -> list[str]:
    from toolkit.evals.transfer.report import Row
    from toolkit.plan.figures import flop

    assert isinstance(row, Row)
    signs = {"at": "", "at most": "≤ ", "more than": "> "}
    parent, scratch = row.compute["parent"], row.compute["scratch"]
    after = row.pays_back_after
    return [
        f"{row.labels:,}",
        f"{row.equal_score:.3f}",
        signs[parent.bound] + flop(parent.value),
        signs[scratch.bound] + flop(scratch.value),
        f"{scratch.value / parent.value:.1f}",
        "-" if pretraining is None else flop(pretraining + parent.value),
        "-" if after is None else f"{after:,} fine-tune{'s' if after > 1 else ''}",
    ]
