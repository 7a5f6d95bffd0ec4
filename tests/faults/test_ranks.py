"""Two ranks train what one trains, and lose nothing when one of them dies, hangs or is stopped."""

import signal
import sys

import psutil
import pytest
import torch
from harness import Bench, alive, farthest, kill, wait_until

pytestmark = pytest.mark.slow
ADAMW = "train.optimizer.kind=adamw"


def test_losses_do_not_depend_on_the_ranks(shared: Bench) -> None:
    shared.run("one", ADAMW)
    shared.run("three", ADAMW, "--nproc", "3")  # of four micro-batches: some ranks have one more
    assert farthest(shared, "one", "three", "train/loss") < 1e-6
    assert farthest(shared, "one", "three", "val/loss") < 1e-6


@pytest.mark.long
def test_muon_on_two_ranks_and_a_stop_on_each_side(shared: Bench, two_ranks: str) -> None:
    shared.run("one-muon")
    # Its matrices are orthogonalised in bfloat16, which turns differences of 1e-7 into larger ones.
    assert farthest(shared, "one-muon", two_ranks, "train/loss") < 2e-3
    for ranks, step in ((["--nproc", "2"], 10), ([], 30)):
        process = shared.start("mixed", *ranks)
        shared.wait_for_step("mixed", step, process)
        process.send_signal(signal.SIGTERM)
        printed = process.communicate(timeout=60)[0]
        assert process.returncode == 75, printed
    shared.run("mixed", "--nproc", "4")
    assert farthest(shared, "one-muon", "mixed", "train/loss") < 2e-3
    exported = shared.folder / "exported"
    shared.tk("verify", "mixed")
    shared.tk("export", "mixed", str(exported))
    from safetensors.torch import load_file

    total = sum(tensor.numel() for tensor in load_file(exported / "model.safetensors").values())
    assert total == sum(t.numel() for name, t in shared.final("mixed").items() if "optimizer" not in name)


def test_a_rank_that_dies_ends_the_run_which_resumes_equal(shared: Bench, two_ranks: str) -> None:
    process = shared.start("dies", "--nproc", "2", "--max-restarts", "1")
    shared.wait_for_step("dies", 23, process)
    kill(shared.rank("dies", 1).pid)
    printed = process.communicate(timeout=90)[0]
    assert process.returncode == 0, printed
    assert "rank 1 was ended by SIGKILL" in printed
    assert "restart 1 of 1" in printed
    shared.assert_equal("dies", two_ranks)


@pytest.mark.long
def test_a_rank_that_hangs_is_told_of_with_its_stacks(shared: Bench, two_ranks: str) -> None:
    process = shared.start("hangs", "--nproc", "2", "run.hang_after=3")
    shared.wait_for_step("hangs", 12, process)
    stopped = shared.rank("hangs", 1).pid
    kill(stopped, signal.SIGSTOP)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1, printed
    assert "ended as hanging" in printed
    assert "1 (stopped)" in printed
    assert "trainer.py" in (shared.folder_of("hangs").stacks / "attempt-1-rank-0.txt").read_text()
    assert not alive(stopped), "nothing is left behind"
    shared.run("hangs", "--nproc", "2")
    shared.assert_equal("hangs", two_ranks)


@pytest.mark.long
def test_a_killed_supervisor_leaves_no_rank_behind(shared: Bench) -> None:
    process = shared.start("orphans", "--nproc", "2")
    shared.wait_for_step("orphans", 5, process)
    pids = [shared.rank("orphans", rank).pid for rank in (0, 1)]
    process.kill()
    wait_until(lambda: not any(map(alive, pids)), 20)


@pytest.mark.long
def test_torchrun_starts_the_same_run(shared: Bench, two_ranks: str) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "toolkit")
    process = shared.start_with(torchrun, "by-torchrun")
    printed = process.communicate(timeout=90)[0]
    assert process.returncode == 0, printed
    shared.assert_equal("by-torchrun", two_ranks)


def test_ranks_of_one_machine_listen_to_it_alone(shared: Bench) -> None:
    process = shared.start("listening", "--nproc", "2")
    shared.wait_for_step("listening", 3, process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    addresses = [
        place.laddr.ip
        for member in family
        for place in member.net_connections("inet")
        if place.status == psutil.CONN_LISTEN
    ]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert len(addresses) > 2
    assert set(addresses) == {"127.0.0.1"}


def test_more_ranks_than_work_are_refused(shared: Bench) -> None:
    printed = shared.run("idle", "--nproc", "3", "run.micro_batch=4", status=2)
    assert "gives work to 2 of 3 ranks" in printed
    assert "Traceback" not in printed


def test_damage_to_one_part_is_noticed(shared: Bench, two_ranks: str) -> None:
    import shutil

    shutil.copytree(shared.folder_of(two_ranks).path, shared.runs / "damaged" / "pretrain")
    last = sorted((shared.runs / "damaged/pretrain/checkpoints").glob("step-*"))[-1]
    part = sorted((last / "weights").iterdir())[1]
    torch.manual_seed(0)
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    assert f"weights/{part.name} is damaged" in shared.tk("verify", "damaged", status=1)
    part.unlink()
    assert f"weights/{part.name} is missing" in shared.tk("verify", "damaged", status=1)
