"""torchrun's agent within `tk run --nproc N`: it starts the ranks of this machine and watches over them.

`python -m toolkit.engine.agent`, with a job on standard input. Restarts are the supervisor's, with a new
rendezvous each: PyTorch's own restart in place fails with gloo.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from toolkit.engine.interrupts import EXIT_FAILED, STOPPING
from toolkit.engine.job import JOB_FILE, STATUS_FILE, Job
from toolkit.engine.worker import PARENT, die_with_parent

NOT_OURS = "SIGQUIT"
"""The only signal that PyTorch's agent may handle: it would end the ranks before they have saved."""
CPP_LOG = "TORCH_CPP_LOG_LEVEL"
SHUTDOWN_SECONDS = 15


def main() -> int:
    """Carry out the job on standard input with several ranks; the exit status of the first."""
    die_with_parent()
    job = Job.model_validate_json(sys.stdin.buffer.read())
    with _quiet_torch():
        import torch.distributed  # noqa: F401
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from toolkit.engine.loopback import ADDRESS, use_loopback

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    asked = _pass_signals_on()
    os.environ[PARENT] = str(os.getpid())
    launch = job.launch
    with tempfile.TemporaryDirectory(prefix="tk-") as folder:
        os.environ[JOB_FILE] = f"{folder}/job.json"
        os.environ[STATUS_FILE] = f"{folder}/status"
        Path(os.environ[JOB_FILE]).write_text(job.model_dump_json())
        config = LaunchConfig(
            min_nodes=launch.min_nodes or launch.nodes,
            max_nodes=launch.nodes,
            nproc_per_node=launch.nproc,
            run_id=launch.run_id,
            rdzv_backend="c10d" if launch.rendezvous else use_loopback(),
            rdzv_endpoint=launch.rendezvous or ADDRESS,
            rdzv_configs={"last_call_timeout": 10, "timeout": launch.patience},
            max_restarts=0,
            signals_to_handle=NOT_OURS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        status, killed = EXIT_FAILED, False
        try:
            elastic_launch(config, sys.executable)("-m", "toolkit.engine.worker")
        except ChildFailedError as error:
            for rank, failure in sorted(error.failures.items()):
                if failure.exitcode < 0:
                    killed = True
                    name = signal.Signals(-failure.exitcode).name
                    print(f"rank {rank} was ended by {name}.", file=sys.stderr, flush=True)
        except Exception as error:  # noqa: BLE001 - the rendezvous raises whatever its store does
            print(f"error: the machines did not come together: {error}", file=sys.stderr, flush=True)
        # The others are asked to stop when one is killed: that they could is no stop that anyone wanted.
        if Path(os.environ[STATUS_FILE]).exists() and (asked or not killed):
            status = int(Path(os.environ[STATUS_FILE]).read_text())
    return status


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Import it with its C++ log off, in this process only: a lost machine fills pages with stack frames."""
    given = os.environ.get(CPP_LOG)
    os.environ.setdefault(CPP_LOG, "FATAL")
    try:
        yield
    finally:
        if given is None:
            del os.environ[CPP_LOG]


def _pass_signals_on() -> list[int]:
    """Gives the signals that came."""
    import psutil

    came: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for child in psutil.Process().children():
            try:
                child.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    for number in STOPPING:
        signal.signal(number, pass_on)
    return came


if __name__ == "__main__":
    found = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(found)  # threads of a rendezvous with a lost machine would keep it for minutes
