"""Two machines, of which one is lost for good: the other goes on by itself from the last checkpoint."""

import signal
import socket
import subprocess
import sys

import psutil
import pytest
from harness import Bench, alive, wait_until

from toolkit.engine.loopback import INTERFACE

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
LENGTH = ("train.duration=100 steps", "train.optimizer.kind=adamw")
TK = (sys.executable, "-m", "toolkit")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:2", "--nproc-per-node", "1")
TORCHRUN += ("--rdzv-backend", "c10d", "--max-restarts", "1")


def machines(bench: Bench, name: str, *command: str) -> "list[subprocess.Popen[str]]":
    """The same on both. The first one is that where they meet."""
    environment = bench.environment | {"GLOO_SOCKET_IFNAME": INTERFACE}
    started = []
    for number in range(2):
        log = (bench.folder / f"{name}-{number}.log").open("w")
        started.append(
            subprocess.Popen(command, cwd=bench.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        )
    return started


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    own = psutil.Process(process.pid)
    return [own, *own.children(recursive=True)]


def listens(process: "subprocess.Popen[str]", port: int) -> bool:
    places = [place for member in family(process) for place in member.net_connections("inet")]
    return any(place.status == psutil.CONN_LISTEN and place.laddr.port == port for place in places)


@pytest.mark.parametrize("by", ["tk", "torchrun"])
def test_the_machine_that_is_left_goes_on_alone(bench: Bench, by: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = f"127.0.0.1:{port}"
    run = ("run", str(bench.spec), "--as", by, *LENGTH)
    if by == "tk":
        command = (*TK, *run, "run.parallel.min_nodes=1", "--nodes", "2", "--rendezvous", place)
        command += ("--max-restarts", "1")
    else:
        command = (*TORCHRUN, "--rdzv-endpoint", place, "-m", "toolkit", *run)
    agents = machines(bench, by, *command)

    def told() -> str:
        return "\n".join((bench.folder / f"{by}-{number}.log").read_text() for number in range(2))

    wait_until(lambda: bench._step(by) >= 20 or any(p.poll() is not None for p in agents), 120)
    assert all(agent.poll() is None for agent in agents), told()
    # The one where they meet stays.
    left, lost = agents if listens(agents[0], port) else agents[::-1]
    orphans = [member.pid for member in family(lost)[1:]]
    lost.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, orphans)), 30)
    assert left.wait(200) == 0, told()
    ranks = [event["ranks"] for event in bench.events(by, "started")]
    assert ranks == [2, 1]
    resumed = [event["step"] for event in bench.events(by, "resumed")]
    assert len(resumed) == 1
    assert resumed[0] >= 15
    bench.run("whole", *LENGTH)
    for tag in ("train/loss", "val/loss"):
        expected, found = bench.curves("whole")[tag], bench.curves(by)[tag]
        assert [step for step, _ in expected] == [step for step, _ in found]
        assert max(abs(a - b) / abs(a) for (_, a), (_, b) in zip(expected, found, strict=True)) < 1e-6
