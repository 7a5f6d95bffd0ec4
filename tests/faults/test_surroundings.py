"""What happens around a run: its clock jumps, its folder becomes read-only, out of bounds, or goes away."""

import json
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Bench

from toolkit.store.events import read_events

pytestmark = pytest.mark.slow
NOT_ROOT = os.geteuid() != 0


class Jumping(Bench):
    """A bench whose wall clock is set at will."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.library, self.clock = folder / "clock.so", folder / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source, "-ldl"], check=True)
        self.set(0)

    def set(self, days: int) -> None:
        with self.clock.open("r+b" if self.clock.exists() else "wb") as file:  # the same file: it is mapped
            file.write(struct.pack("<q", days * 86400))

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"LD_PRELOAD": str(self.library), "TEST_CLOCK": str(self.clock)}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_clocks_that_jump_change_nothing(tmp_path: Path) -> None:
    bench = Jumping(tmp_path / "bench")
    options = ("train.duration=120 steps", "run.hang_after=2")
    bench.run("whole", *options)
    process = bench.start("jumps", *options)
    for step, days in ((10, -3), (30, 500), (50, -40)):
        bench.wait_for_step("jumps", step, process)
        bench.set(days)
    bench.wait_for_step("jumps", 70, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    bench.set(-1000)
    bench.run("jumps", *options)
    times = [float(str(event["time"])) for event in read_events(bench.folder_of("jumps"))]
    assert max(times) - min(times) > 1000 * 86400, "the clock did jump"
    assert not bench.events("jumps", "hang")
    bench.assert_equal("jumps", "whole")
    states = {run["run"]: run["state"] for run in json.loads(bench.tk("ls", "--json"))}
    assert states["jumps/pretrain"] == "finished"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose runs folder is a mount of `kept`, another folder."""
    bench = Bench(tmp_path / "bench")
    bench.runs.mkdir()
    (bench.folder / "kept").mkdir()
    mount = ["mount", "--bind", str(bench.folder / "kept"), str(bench.runs)]
    if NOT_ROOT or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield bench
    subprocess.run(["umount", "--lazy", str(bench.runs)], check=False, capture_output=True)


def remount(bench: Bench, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(["remount", "bind", *options]), str(bench.runs)], check=True)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def error_lines(printed: str) -> list[str]:
    assert "Traceback" not in printed, printed
    return [line for line in printed.splitlines() if line.startswith("error: ")]


def test_a_runs_folder_that_is_read_only_is_named(mounted: Bench) -> None:
    remount(mounted, "ro")
    printed = mounted.run("new", status=1)
    assert error_lines(printed) == [f"error: {mounted.runs}/new: Read-only file system"]
    assert files(mounted.folder / "kept") == {}
    remount(mounted, "rw")
    process = mounted.start("old", "train.duration=400 steps")
    mounted.wait_for_step("old", 12, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    before = files(mounted.folder / "kept")
    remount(mounted, "ro")
    printed = mounted.run("old", "train.duration=400 steps", status=1)
    assert len(error_lines(printed)) == 1, printed
    assert "Read-only file system" in printed
    assert files(mounted.folder / "kept") == before
    remount(mounted, "rw")


@pytest.mark.long
def test_a_folder_that_becomes_read_only_under_a_run(mounted: Bench) -> None:
    mounted.run("whole")
    process = mounted.start("halfway")
    mounted.wait_for_step("halfway", 12, process)
    # What is open for writing can't be made read-only: a mount above it is.
    subprocess.run(["mount", "--bind", str(mounted.folder / "kept"), str(mounted.runs)], check=True)
    remount(mounted, "ro")
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1, printed
    assert len(error_lines(printed)) == 1, printed
    assert "Read-only file system" in printed
    subprocess.run(["umount", str(mounted.runs)], check=True)
    mounted.run("halfway")
    mounted.assert_equal("halfway", "whole")


@pytest.mark.long
@pytest.mark.parametrize("ranks", [(), ("--nproc", "2")])
def test_a_mount_that_goes_away_under_a_run(mounted: Bench, ranks: tuple[str, ...]) -> None:
    mounted.run("whole", *ranks)
    process = mounted.start("gone", *ranks)
    mounted.wait_for_step("gone", 12, process)
    subprocess.run(["umount", "--lazy", str(mounted.runs)], check=True)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1, printed
    assert len(error_lines(printed)) >= 1, printed
    assert "gone" in printed
    assert list(mounted.runs.iterdir()) == [], "nothing is written beneath the place of the mount"
    subprocess.run(["mount", "--bind", str(mounted.folder / "kept"), str(mounted.runs)], check=True)
    mounted.run("gone", *ranks)
    mounted.assert_equal("gone", "whole")


@pytest.mark.long
@pytest.mark.skipif(
    NOT_ROOT or not shutil.which("setpriv"), reason="needs root and setpriv, to give rights up"
)
def test_permissions_that_are_lost_under_a_run(bench: Bench) -> None:
    options = ("train.duration=100 steps", "run.checkpoint_every=5 steps")
    bench.run("whole", *options)
    bound = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", *bench.command())
    process = bench.start_with(bound, "locked", *options)
    bench.wait_for_step("locked", 22, process)
    folder = bench.folder_of("locked").checkpoints
    folder.chmod(0o500)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1, printed
    assert len(error_lines(printed)) == 1, printed
    assert "Permission denied" in printed
    bench.tk("verify", "locked")
    folder.chmod(0o700)
    bench.run("locked", *options)
    assert not list(folder.glob(".tmp-*")), "what could not be removed then is now"
    bench.assert_equal("locked", "whole")
