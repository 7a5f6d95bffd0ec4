"""`tk run`: begin a run, go on with one, or say why not."""

from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Overrides, Runs, Spec, Stage

if TYPE_CHECKING:
    from toolkit.spec.spec import Spec as SpecModel
    from toolkit.store.runs import RunFolder


def run(
    spec: Spec,
    overrides: Overrides = None,
    stage: Stage = "pretrain",
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name of the run, in place of the spec's.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Begin again; the run that is there is set aside.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 or mps, in place of the spec's.")
    ] = None,
    runs: Runs = None,
) -> None:
    """Carry out a spec. A run that stopped goes on, and ends as if it had never stopped.

    \b
    Examples:
      tk run specs/gpt_small.toml
      tk run specs/gpt_small.toml train.duration="2M tokens" --as short
      tk run specs/gpt_small.toml model.n_layers=8 --replace

    \b
    Exit status:
      0   finished, now or before
      75  stopped with the work saved: the same command goes on
      1   failed; what was saved before is intact
      2   bad input: nothing was run
    """
    from toolkit.engine.job import Job
    from toolkit.engine.supervisor import supervise
    from toolkit.spec.load import load_spec
    from toolkit.store.runs import RunFolder, runs_root

    given = [*(overrides or ()), *([f"run.device={device}"] if device else ())]
    loaded = load_spec(spec, given)
    name = as_name or loaded.spec.name
    job = Job(
        root=runs_root(runs),
        name=name,
        stage=stage,
        spec=loaded.spec.model_copy(update={"name": name}),
        text=loaded.text.decode(),
    )
    check_stage(job.spec, stage)
    folder = RunFolder(job.root, name, stage)
    if folder.exists():
        if replace:
            _set_aside(folder)
        elif _is_complete(folder, job.spec):
            return
    raise typer.Exit(supervise(job))


def check_stage(spec: "SpecModel", stage: str) -> None:
    """Raises BadInput for a stage that the spec doesn't have."""
    from toolkit.cli.errors import BadInput
    from toolkit.store.runs import FIRST_STAGE

    if stage != FIRST_STAGE:
        raise BadInput(f'{spec.name} has no stage "{stage}". It has: {FIRST_STAGE}.')


def _set_aside(run: "RunFolder") -> None:
    from toolkit.cli.output import say
    from toolkit.store.lease import hold
    from toolkit.store.runs import set_aside

    with hold(run):
        say(f"{run} is set aside as {set_aside(run)}")


def _is_complete(run: "RunFolder", spec: "SpecModel") -> bool:
    """Whether the run is this spec's and finished, which is said. Raises BadInput if it is another spec's."""
    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import say
    from toolkit.cli.words import changes
    from toolkit.plan.record import Record, spec_identity

    record = Record.read(run)
    begun = record.fingerprint
    if begun is not None and begun != spec_identity(spec, run.stage):
        differences = changes(record.spec or {}, spec.model_dump(mode="json"), only_identity=True)
        raise BadInput(
            "\n".join(
                [
                    f"{run} was begun with another spec:",
                    *(differences or ["  (the spec it began with is not known)"]),
                    "Two ways on:",
                    "  --as NEW_NAME  runs this one beside it",
                    "  --replace      sets the old run aside and begins again",
                ]
            )
        )
    if record.state != "finished":
        return False
    status = record.status
    results = [f"{name} {value:.4f}" for name, value in record.metrics.items() if name.startswith("val/")]
    say(f"{run} is finished: step {status.step if status else '?'}  {'  '.join(results)}".rstrip())
    say(f"`tk show {run}` tells more, `tk sample {run}` has it write, --replace begins again.")
    return True
