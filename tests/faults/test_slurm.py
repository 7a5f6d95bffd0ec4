"""`tk submit` on a real SLURM: a preempted or timed-out run ends equal to an undisturbed one."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Bench, kill, wait_until
from slurm import Slurm, missing

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
LENGTH = "train.duration=120 steps"


class Cluster(Bench):
    """A bench whose `tk` speaks to a SLURM."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.slurm = Slurm(folder / "slurm")

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.slurm.environment

    def submit(self, name: str, *options: str) -> int:
        printed = self.tk("submit", str(self.spec), "--as", name, "--gpus-per-node", "0", *options)
        found = re.search(r": queued as job (\d+)", printed)
        assert found, printed
        return int(found[1])

    def state(self, name: str) -> str:
        listed = json.loads(self.tk("ls", "--json"))
        return next(item["state"] for item in listed if item["run"] == f"{name}/pretrain")

    def log(self, name: str) -> str:
        return "".join(path.read_text() for path in self.folder_of(name).path.glob("slurm-*.log"))

    def wait_for_end(self, name: str, job: int) -> None:
        wait_until(lambda: self.slurm.state(job) in ("COMPLETED", "FAILED", "forgotten"), 200)
        assert "tk: finished" in self.log(name), self.log(name)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    tmp_path.chmod(0o755)
    cluster = Cluster(tmp_path / "bench")
    yield cluster
    cluster.slurm.stop()


def test_a_preempted_run_goes_on_to_an_equal_end(cluster: Cluster) -> None:
    job = cluster.submit("preempted", "--partition", "low", "--cpus-per-task", "2", "--nodes", "2", LENGTH)
    with pytest.raises(AssertionError, match="is in the queue"):
        cluster.tk("submit", str(cluster.spec), "--as", "preempted", "--gpus-per-node", "0")
    wait_until(lambda: cluster._step("preempted") >= 20)
    assert cluster.state("preempted") == "running"
    cluster.slurm.ask("sbatch", "-p", "high", "-N2", "-c2", "-o", "/dev/null", "--wrap", "sleep 6")
    wait_until(lambda: cluster.state("preempted") == "requeued")
    cluster.wait_for_end("preempted", job)
    assert cluster.state("preempted") == "finished"
    assert len(cluster.events("preempted", "resumed")) >= 1
    cluster.run("undisturbed", "--nproc", "2", LENGTH)
    cluster.assert_equal("preempted", "undisturbed")


def test_a_time_limit_is_seen_coming(cluster: Cluster) -> None:
    # The limit is a whole minute, and SLURM may tell of it up to a minute ahead: at once, here.
    long = ("train.duration=120 steps", "run.checkpoint_every=1000 steps", "run.hang_after=120")
    job = cluster.submit("limited", "--time", "1:00", "--ahead", "35", *long)
    # However fast the machine is, the run is not done before it is told.
    wait_until(lambda: cluster._step("limited") >= 20)
    worker = cluster.rank("limited", 0).pid
    kill(worker, signal.SIGSTOP)
    wait_until(lambda: list(cluster.folder_of("limited").requests.glob("stop*")))
    kill(worker, signal.SIGCONT)
    wait_until(lambda: cluster.events("limited", "stopped"))
    cluster.wait_for_end("limited", job)
    stops = cluster.events("limited", "stopped")
    assert [event["step"] for event in stops] == [e["step"] for e in cluster.events("limited", "resumed")]
    assert "the time limit is near, the work is saved; queued again" in cluster.log("limited")
    cluster.run("undisturbed", *long)
    cluster.assert_equal("limited", "undisturbed")


def test_what_was_asked_to_stop_stays_stopped(cluster: Cluster) -> None:
    job = cluster.submit("stopped", "train.duration=2000 steps")
    wait_until(lambda: cluster._step("stopped") >= 5)
    cluster.tk("stop", "stopped", "--wait")
    wait_until(lambda: cluster.slurm.state(job) in ("COMPLETED", "forgotten"))
    assert "tk: stopped as asked" in cluster.log("stopped")
    again = cluster.submit("stopped", "train.duration=2000 steps")
    wait_until(lambda: cluster.events("stopped", "resumed"))
    cluster.slurm.ask("scancel", str(again))
    wait_until(lambda: cluster.slurm.state(again) in ("CANCELLED", "forgotten"), 60)
    assert cluster.state("stopped") == "stopped"
    assert "queued again" not in cluster.log("stopped")
