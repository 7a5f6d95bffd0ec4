"""`tk plan`: what a run will take, before it is run."""

from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Json, OneStage, Overrides, Runs, Spec

if TYPE_CHECKING:
    from toolkit.plan.plan import Plan
    from toolkit.store.runs import RunFolder


def plan(
    spec: Spec,
    overrides: Overrides = None,
    stage: OneStage = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure the speed of this machine first, for some seconds.")
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Say what a spec will take, before it is run.

    Size, length, operations, memory and disk follow from the spec; time from a measured speed.

    \b
    Examples:
      tk plan specs/gpt_small.toml
      tk plan specs/gpt_small.toml model.n_layers=12 --probe
      tk plan specs/gpt_small.toml --json
    """
    from toolkit.cli.output import say_json
    from toolkit.cli.stages import make_jobs
    from toolkit.plan.plan import plan_here
    from toolkit.spec.load import load_spec
    from toolkit.store.runs import runs_root

    # A probe runs the model: what it stands on has to be there.
    imports: dict[str, Plan] | None = None if probe else {}
    jobs = make_jobs(load_spec(spec, overrides or ()), stage, runs_root(runs), imports=imports)
    if probe:
        from toolkit.cli.output import results_apart
        from toolkit.engine.supervisor import supervise

        for job in jobs:
            with results_apart():
                status = supervise(job.model_copy(update={"action": "probe"}))
            if status:
                raise typer.Exit(status)
    plans = [plan_here(job.spec, job.stage, runs=job.root, imports=imports) for job in jobs]
    done = [_done(job.run, made.fingerprint) for job, made in zip(jobs, plans, strict=True)]
    if as_json:
        stages = [
            {
                "run": str(job.run),
                "stage": made.stage,
                "parent": made.parent and made.parent.model_dump(mode="json"),
                "state": state,
                "done": text,
                "plan": made.model_dump(mode="json"),
            }
            for job, made, (state, text) in zip(jobs, plans, done, strict=True)
        ]
        shown = next(at for at, job in enumerate(jobs) if job.asked_for)
        say_json({**plans[shown].model_dump(mode="json"), "stages": stages})
        return
    for number, (made, (_, text)) in enumerate(zip(plans, done, strict=True)):
        if number:
            print()
        _print(made, text)


def _print(made: "Plan", done: str) -> None:
    from textwrap import fill

    from toolkit.cli.output import WIDTH, YELLOW, paint, say_rows
    from toolkit.plan.report import plan_rows
    from toolkit.store.text import sanitize

    (label, value), *rest = plan_rows(made)
    say_rows([(label, value), ("done", done), *rest])
    for warning in made.warnings:
        text = fill(sanitize(f"warning: {warning}"), WIDTH, subsequent_indent="  ", break_long_words=False)
        print(paint(text, YELLOW))


def _done(run: "RunFolder", fingerprint: str) -> tuple[str, str]:
    """The state of the run that stands there, in one word and in a line."""
    from toolkit.plan.record import Record

    if not run.exists():
        return "new", "nothing yet"
    record = Record.read(run)
    status = record.status
    steps = "" if status is None else f" at step {status.step} of {status.steps or '?'}"
    text = f"{record.state}{steps}"
    if record.fingerprint not in (None, fingerprint):
        text += ", but with another spec: --as or --replace"
    return record.state, text
