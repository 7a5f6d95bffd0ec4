"""`tk submit`: hand a run to a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolkit.cli.options import OneStage, Overrides, Runs, Spec

if TYPE_CHECKING:
    from toolkit.cli.batch import Order
    from toolkit.store.runs import RunFolder


def submit(
    spec: Spec,
    overrides: Overrides = None,
    stage: OneStage = None,
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name of the run, in place of the spec's.")
    ] = None,
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="Machines.")] = 1,
    gpus_per_node: Annotated[
        int, typer.Option(metavar="N", min=0, help="GPUs of each, one rank a GPU. 0 trains on CPUs.")
    ] = 1,
    nproc: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Ranks on each machine. Default: one a GPU.")
    ] = None,
    cpus_per_task: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Cores of each machine.")
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="NAME", help="SLURM's partition.")] = None,
    time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Limit of one job, as SLURM writes it: 4:00:00.")
    ] = None,
    ahead: Annotated[
        int, typer.Option(metavar="SECONDS", min=5, help="How long before the limit the work is saved.")
    ] = 120,
    option: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="OPTION", help="Another option of sbatch: --sbatch=--account=ours."),
    ] = None,
    max_restarts: Annotated[
        int, typer.Option(metavar="N", min=0, help="Restarts within a job, and jobs after a crash.")
    ] = 3,
    via: Annotated[
        Literal["slurm", "skypilot"], typer.Option(help="The batch system. skypilot writes its file only.")
    ] = "slurm",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script and submit nothing.")] = False,
    runs: Runs = None,
) -> None:
    """Hand a spec to a cluster, job after job until it is done.

    Writes a batch script and submits it. A job that is preempted or meets its time limit saves its work and is
    queued again; the next one resumes by itself. `tk ls` tells which runs wait. The script is kept in the run's
    folder and may be edited. The runs folder and the data must be on a disk that all machines share.

    \b
    Examples:
      tk submit specs/gpt2_124m.toml --nodes 4 --gpus-per-node 8 --partition gpu --time 4:00:00
      tk submit specs/gpt2_124m.toml --gpus-per-node 8 --dry-run
      tk submit specs/gpt2_124m.toml --gpus-per-node 8 --via skypilot
    """
    from toolkit.cli.batch import Order, sbatch_script, skypilot_file
    from toolkit.cli.output import say
    from toolkit.cli.stages import check, make_jobs
    from toolkit.spec.load import load_spec
    from toolkit.store.runs import runs_root

    jobs = make_jobs(load_spec(spec, list(overrides or ())), stage, runs_root(runs).absolute(), name=as_name)
    check(jobs, replace=False)
    stages = [job.run for job in jobs if job.asked_for]
    order = Order(
        runs=tuple(stages),
        stage=stage,
        spec=spec.absolute(),
        overrides=tuple(overrides or ()),
        nodes=nodes,
        gpus=gpus_per_node,
        nproc=nproc or max(gpus_per_node, 1),
        cores=cpus_per_task,
        partition=partition,
        time=time,
        ahead=ahead,
        options=tuple(option or ()),
        max_restarts=max_restarts,
    )
    text = sbatch_script(order) if via == "slurm" else skypilot_file(order)
    if dry_run:
        print(text, end="")
        return
    if via == "skypilot":
        path = _write(stages[0], "submit.yaml", text)
        say(f"{path} is written. `sky jobs launch {path}` starts it; edit the name under /runs in it first.")
        return
    _submit(order, text)


def _submit(order: "Order", text: str) -> None:
    import shutil
    import subprocess

    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import say
    from toolkit.store.slurm import queued, write_submission

    if shutil.which("sbatch") is None:
        raise BadInput("there is no sbatch on this machine. Submit from a login node, or see --dry-run.")
    for run, job in queued(order.runs).items():
        raise BadInput(f"{run} is in the queue: job {job.job} is {job.word}. `scancel {job.job}` ends it.")
    path = _write(order.runs[0], "submit.sh", text)
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInput(f"SLURM refused the job: {done.stderr.strip()}. The script is {path}.")
    number = int(done.stdout.strip().split(";")[0])
    for stage in order.runs:
        stage.create()
        write_submission(stage, number, str(path))
    say(f"{', '.join(map(str, order.runs))}: queued as job {number}; its script is {path}")
    say("`tk ls` tells how it goes, `tk stop` ends it with its work saved, `scancel` too.")


def _write(run: "RunFolder", name: str, text: str) -> Path:
    from toolkit.store.atomic import write_atomic

    run.create()
    path = run.path / name
    write_atomic(path, text.encode())
    return path
