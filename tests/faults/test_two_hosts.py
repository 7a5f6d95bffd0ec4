"""Two hosts, which are network namespaces of this one, train together; one is cut off."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Bench, alive, wait_until

HOSTS = {"tk-a": "10.77.5.1", "tk-b": "10.77.5.2"}
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[None]:
    names = "".join(f"{address} {name}\n" for name, address in HOSTS.items())
    for name in HOSTS:
        ip("netns", "add", name)
        folder = Path("/etc/netns") / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    ip(
        "link",
        "add",
        "tk-veth-a",
        "netns",
        "tk-a",
        "type",
        "veth",
        "peer",
        "name",
        "tk-veth-b",
        "netns",
        "tk-b",
    )
    for name, address in HOSTS.items():
        ip("-n", name, "addr", "add", f"{address}/24", "dev", f"tk-veth-{name[-1]}")
        ip("-n", name, "link", "set", f"tk-veth-{name[-1]}", "up")
        ip("-n", name, "link", "set", "lo", "up")
    yield
    for name in HOSTS:
        ip("netns", "del", name, check=False)
        shutil.rmtree(Path("/etc/netns") / name)


def start(bench: Bench, *options: str) -> "list[subprocess.Popen[str]]":
    """`tk run` on both hosts."""
    command = bench.command("run", str(bench.spec), "--as", "split", "--nodes", "2", *options)
    command += ["--rendezvous", f"{HOSTS['tk-a']}:29555"]
    return [
        subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                name,
                "unshare",
                "--uts",
                "sh",
                "-c",
                'hostname "$0"; exec "$@"',
                name,
                *command,
            ],
            cwd=bench.folder,
            env=bench.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in HOSTS
    ]


def test_a_host_that_is_cut_off_ends_the_run_which_resumes_equal(bench: Bench, hosts: None) -> None:
    options = ("run.hang_after=5", "train.duration=100 steps")
    processes = start(bench, *options)
    wait_until(lambda: bench._step("split") >= 20 or any(p.poll() is not None for p in processes), 120)
    assert all(process.poll() is None for process in processes), processes[0].communicate()[0]
    assert {beat.host for beat in (bench.rank("split", 0), bench.rank("split", 1))} == set(HOSTS)
    pids = [bench.rank("split", rank).pid for rank in (0, 1)]
    ip("-n", "tk-b", "link", "set", "tk-veth-b", "down")
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [1, 1], printed
    assert "ended as hanging" in printed[0] + printed[1]
    assert not any(map(alive, pids))
    ip("-n", "tk-b", "link", "set", "tk-veth-b", "up")
    processes = start(bench, *options)
    printed = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    assert bench.events("split", "resumed")
    bench.run("whole", "--nproc", "2", *options)
    bench.assert_equal("split", "whole")
