"""`tk resume`: go on with a run from its own folder."""

from typing import Annotated

import typer

from toolkit.cli.options import Run, Runs


def resume(
    run: Run,
    nproc: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Ranks on this machine; not as many as before, if you like."),
    ] = 1,
    max_restarts: Annotated[
        int, typer.Option(metavar="N", min=0, help="Begin again after a crash or hang.")
    ] = 0,
    runs: Runs = None,
) -> None:
    """Go on with a run that stopped, failed or was killed.

    The spec is the one it began with, overrides included, as its folder tells it.

    \b
    Examples:
      tk resume gpt_small
      tk resume gpt_small --nproc 8

    Exit status: as of `tk run`.
    """
    from pydantic import ValidationError

    from toolkit.cli.errors import BadInput
    from toolkit.cli.launch import launch_of
    from toolkit.cli.output import say
    from toolkit.engine.job import Job
    from toolkit.engine.supervisor import supervise
    from toolkit.plan.record import Record
    from toolkit.spec.spec import Spec
    from toolkit.store.runs import open_run, runs_root

    root = runs_root(runs)
    record = Record.read(open_run(root, run))
    folder = record.run
    if record.state == "finished":
        say(f"{folder} is finished. `tk show {folder}` tells more.")
        return
    if record.spec is None:
        raise BadInput(f"{folder} does not tell which spec it began with. `tk run SPEC` goes on with it.")
    try:
        spec = Spec.model_validate(record.spec)
    except ValidationError as error:
        raise BadInput(
            f"the spec that {folder} began with is not one that this version of tk reads. "
            "Use the version that wrote it, or `tk run SPEC`."
        ) from error
    job = Job(
        root=root,
        name=folder.name,
        stage=folder.stage,
        spec=spec.model_copy(update={"name": folder.name}),
        text=folder.spec.read_text() if folder.spec.exists() else "",
    )
    raise typer.Exit(supervise(launch_of(nproc, 1, None, max_restarts)(job)))
