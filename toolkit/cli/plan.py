"""`tk plan`: what a run will take, before it is run."""

from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Json, Overrides, Runs, Spec, Stage

if TYPE_CHECKING:
    from toolkit.store.runs import RunFolder


def plan(
    spec: Spec,
    overrides: Overrides = None,
    stage: Stage = "pretrain",
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
    from textwrap import fill

    from toolkit.cli.output import WIDTH, YELLOW, paint, say_json, say_rows
    from toolkit.cli.run import check_stage
    from toolkit.plan.plan import plan_here
    from toolkit.plan.report import plan_rows
    from toolkit.spec.load import load_spec
    from toolkit.store.runs import RunFolder, runs_root
    from toolkit.store.text import sanitize

    loaded = load_spec(spec, overrides or ())
    root = runs_root(runs)
    check_stage(loaded.spec, stage)
    if probe:
        from toolkit.cli.output import results_apart
        from toolkit.engine.job import Job
        from toolkit.engine.supervisor import supervise

        job = Job(
            action="probe",
            root=root,
            name=loaded.spec.name,
            stage=stage,
            spec=loaded.spec,
            text=loaded.text.decode(),
        )
        with results_apart():
            status = supervise(job)
        if status:
            raise typer.Exit(status)
    made = plan_here(loaded.spec, stage, runs=runs)
    state, done = _done(RunFolder(root, made.name, made.stage), made.fingerprint)
    if as_json:
        stages = [{"stage": made.stage, "parent": made.parent, "state": state, "done": done}]
        say_json({**made.model_dump(mode="json"), "stages": stages})
        return
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
