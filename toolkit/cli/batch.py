"""What a batch system is given: a script for SLURM, a file for SkyPilot. Both are meant to be read."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from toolkit.store.runs import RunFolder


@dataclass(frozen=True)
class Order:
    """A run and the machines it asks for."""

    runs: tuple[RunFolder, ...]
    """The stages, in their order."""
    stage: str | None
    """None for all of the spec."""
    spec: Path
    overrides: tuple[str, ...]
    nodes: int
    gpus: int
    """Of each machine."""
    nproc: int
    cores: int | None
    partition: str | None
    time: str | None
    ahead: int
    """Seconds before the time limit."""
    options: tuple[str, ...]
    """More options of sbatch."""
    max_restarts: int

    def command(self, tk: str) -> str:
        """`tk run …` as a shell reads it, without where the machines meet."""
        words = [
            str(self.spec),
            *self.overrides,
            *(("--stage", self.stage) if self.stage else ()),
            *("--as", self.runs[0].name),
            *("--nproc", str(self.nproc)),
            *("--max-restarts", str(self.max_restarts)),
        ]
        return f"{tk} run {shlex.join(words)}"


def sbatch_script(order: Order) -> str:
    """A script for sbatch that goes on, job after job, until the run is done."""
    run = order.runs[0]
    wanted = {
        "job-name": run.name,
        "partition": order.partition,
        "nodes": order.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": order.gpus or None,
        "cpus-per-task": order.cores,
        "time": order.time,
        "signal": f"B:USR1@{order.ahead}",
        "open-mode": "append",
        "output": run.path / "slurm-%j.log",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in wanted.items() if value is not None]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {option}" for option in order.options)]
    where = meeting = ""
    if order.nodes > 1:
        where = _FIRST_NODE
        meeting = f' --nodes {order.nodes} --rendezvous "$head:$((20000 + SLURM_JOB_ID % 20000))"'
    return _SBATCH.format(
        name=", ".join(map(str, order.runs)),
        options="\n".join(lines),
        folder=shlex.quote(str(Path.cwd())),
        script=shlex.quote(str(run.path / "submit.sh")),
        requests=" ".join(shlex.quote(str(stage.requests)) for stage in order.runs),
        runs=shlex.quote(str(run.root)),
        command=order.command(f"{shlex.quote(sys.executable)} -m toolkit") + meeting,
        ahead=order.ahead,
        meeting=where,
        tries=order.max_restarts,
    )


_FIRST_NODE = """\
# The machines meet at the first, by the address that SLURM itself uses.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')
"""
_SBATCH = """\
#!/bin/bash
# Carries out {name}. Written by `tk submit`; `sbatch` of this file submits it again.
{options}

cd {folder}
export TK_RUNS={runs}
stages=({requests})  # where the runs are asked to stop
{meeting}
# SLURM sends USR1 {ahead} seconds before the time limit, to this shell only, and TERM before a preemption.
# A file asks the run to save and stop, again and again: a run that is just starting takes up none.
leaving=
trap 'leaving=yes' USR1 TERM
srun --kill-on-bad-exit=1 {command} &
step=$!
while kill -0 "$step" 2>/dev/null; do
    [ "$leaving" ] && touch "${{stages[@]/%//stop}}"
    sleep 2
done
wait "$step"
status=$?
rm -f "${{stages[@]/%//stop}}"

again() {{
    # A job that was cancelled, or that SLURM is queueing again itself, is no longer running.
    [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ] || exit 0
    echo "tk: $1; queued again"
    scontrol requeue "$SLURM_JOB_ID" || sbatch {script}
    exit 0
}}

case $status in
    0) echo "tk: finished" ;;
    2) exit 2 ;;
    *)
        if [ "$leaving" ]; then again "the time limit is near, the work is saved"; fi
        if [ $status = 75 ]; then echo "tk: stopped as asked"; exit 0; fi
        if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {tries} ]; then again "ended with status $status"; fi
        exit $status
        ;;
esac
"""


def skypilot_file(order: Order) -> str:
    """A task for `sky jobs launch`: managed jobs are started again after preemption, and the run resumes."""
    gpus = f"  accelerators: H100:{order.gpus}  # another: sky gpus list\n" if order.gpus else ""
    order_there = Order(
        **{
            **order.__dict__,
            "spec": Path(order.spec.name),
            "nodes": 1,
        }
    )
    together = order.nodes > 1
    meeting = f' --nodes {order.nodes} --rendezvous "$head:29400"' if together else ""
    return _SKYPILOT.format(
        name=", ".join(map(str, order.runs)),
        job=order.runs[0].name.replace("_", "-").replace(".", "-"),
        nodes=order.nodes,
        gpus=gpus,
        spec=order.spec,
        spec_name=order.spec.name,
        runs=_VOLUME if together else _BUCKET,
        command=order_there.command("tk") + meeting,
    )


_BUCKET = """\
  # Checkpoints outlive the machine here. The bucket's name must be yours. Cached, since a run appends to its files.
  /runs:
    name: tk-runs-CHANGE-ME
    mode: MOUNT_CACHED
"""
_VOLUME = """\

volumes:
  # Machines that train together write one folder, which a bucket is not: name a volume that all can mount.
  /runs: tk-runs-CHANGE-ME
"""
_SKYPILOT = """\
# Carries out {name} by SkyPilot: sky jobs launch submit.yaml
name: {job}
num_nodes: {nodes}

resources:
{gpus}  use_spot: true

file_mounts:
  # Files that the spec names have to be there too.
  ~/sky_workdir/{spec_name}: {spec}
{runs}
setup: |
  pip install tk-pretrain  # from its sources: `workdir: FOLDER` above, and `pip install .`

run: |
  cd ~/sky_workdir
  export TK_RUNS=/runs
  head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
  {command}
"""
