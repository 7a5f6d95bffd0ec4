"""A real SLURM of two nodes on this one machine, for the length of a test."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
ReturnToService=2
JobRequeue=1
KillWait=20
InactiveLimit=0
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MpiDefault=none
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
"""
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")


def missing() -> str | None:
    """Why SLURM can't be started here; None if it can."""
    absent = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if absent:
        return f"{', '.join(absent)} not installed (slurm-wlm and munge of Debian)"
    return None if os.getuid() == 0 else "slurmd must be started as root"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Slurm:
    """A cluster; `environment` is what its commands need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)
        (folder / "state").mkdir()
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        ports = _free_ports(3)
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[i]} CPUs=2 RealMemory=1000"
            for i in (1, 2)
        )
        (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, port=ports[0], nodes=nodes))
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._processes = [
            self._start(
                "munged",
                "--foreground",
                "--force",
                f"--key-file={key}",
                f"--socket={folder}/munge.socket",
                f"--log-file={folder}/munged.log",
                f"--pid-file={folder}/munged.pid",
                f"--seed-file={folder}/munged.seed",
            )
        ]
        _wait_for(lambda: (folder / "munge.socket").exists())
        self._processes.append(self._start("slurmctld", "-D", "-c"))
        self._processes += [self._start("slurmd", "-D", "-N", f"n{i}") for i in (1, 2)]
        _wait_for(lambda: self.ask("sinfo", "-h", "-o", "%D %T") == "2 idle")

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{command[0]}.err").open("ab"),
        )

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout.strip()

    def state(self, job: int) -> str:
        return self.ask("squeue", "-h", "-j", str(job), "-t", "all", "-o", "%T") or "forgotten"

    def stop(self) -> None:
        self.ask("scancel", "--signal=KILL", "--full", "--user=root")
        self.ask("scancel", "--user=root")
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(found: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not found():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError("SLURM did not come up")
        time.sleep(0.1)
