"""`tk run`: begin a run, go on with one, or say why not."""

from typing import Annotated

import typer

from toolkit.cli.options import OneStage, Overrides, Runs, Spec


def run(
    spec: Spec,
    overrides: Overrides = None,
    stage: OneStage = None,
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name of the run, in place of the spec's.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Begin again; the run that is there is set aside.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 or mps, in place of the spec's.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before a parent is replaced.")] = False,
    nproc: Annotated[int, typer.Option(metavar="N", min=1, help="Ranks on this machine, one a GPU.")] = 1,
    nodes: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Machines; start the same on each. run.parallel.min_nodes: go on with fewer.",
        ),
    ] = 1,
    rendezvous: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the machines meet: one of them, a free port."),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Begin again from the last checkpoint after a crash or hang."),
    ] = 0,
    runs: Runs = None,
) -> None:
    """Carry out a spec, stage by stage.

    The pretraining, then its fine-tunes. A run that stopped goes on, and ends as if it had never stopped; one that
    is finished is reused. A parent that is another spec is trained first.

    \b
    Examples:
      tk run specs/gpt_small.toml
      tk run specs/gpt_small.toml --stage pretrain
      tk run specs/gpt_small.toml train.duration="2M tokens" --as short
      tk run specs/gpt_small.toml model.n_layers=8 --replace
      tk run specs/gpt2_124m.toml --nproc 8 --max-restarts 3
      torchrun --nproc-per-node 8 -m toolkit run specs/gpt2_124m.toml

    \b
    Exit status:
      0   finished, now or before
      75  stopped with the work saved: the same command goes on
      1   failed; what was saved before is intact
      2   bad input: nothing was run
    """
    from toolkit.cli.launch import as_one_rank, launch_of
    from toolkit.cli.output import BOLD, paint
    from toolkit.cli.stages import ask_before_replacing, check, is_complete, make_jobs, put_aside
    from toolkit.engine.supervisor import supervise
    from toolkit.spec.load import load_spec
    from toolkit.store.runs import runs_root

    given = [*(overrides or ()), *([f"run.device={device}"] if device else ())]
    loaded = load_spec(spec, given)
    jobs = make_jobs(loaded, stage, runs_root(runs), name=as_name)
    wanted = [job for job in jobs if job.asked_for]
    if replace:
        ask_before_replacing(wanted, yes=yes)
    check(jobs, replace=replace)
    launch = launch_of(nproc, nodes, rendezvous, max_restarts)
    for job in jobs:
        with as_one_rank() as first:
            renewed = replace and job.asked_for and job.run.exists()
            if not renewed and job.run.exists() and is_complete(job):
                continue
            launched = launch(job)
            if renewed and first:
                put_aside(job)
        if len(jobs) > 1:
            print(paint(str(job.run), BOLD), flush=True)
        if status := supervise(launched):
            raise typer.Exit(status)
