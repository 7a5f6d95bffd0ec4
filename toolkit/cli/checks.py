"""What `tk doctor` looks at. Nothing is repaired, and nothing stays behind."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from toolkit.store.runs import RunFolder

GIB = 2**30
SAMPLE = 64 << 20
"""Bytes written to measure a disk."""
SLOW_DISK = 50e6
"""Bytes a second; below, saving takes longer than it should."""
SKEW = 2.0
"""Seconds between this clock and that of the disk's server, from which on times mislead."""


class Finding(NamedTuple):
    """What was found: `ok`, worth a `note`, or `bad`, with the way out."""

    subject: str
    verdict: Literal["ok", "note", "bad"]
    text: str


def machine_findings(runs: Path, cache: Path) -> Iterator[Finding]:
    """The machine and the installation."""
    yield _python()
    yield from _torch()
    yield _processor()
    for name, folder in (("runs folder", runs), ("cache", cache)):
        yield from _guarded(name, lambda name=name, folder=folder: _disk(name, folder))  # type: ignore[misc]
    yield from _limits()
    yield _name()
    yield from _slurm()


def run_findings(run: RunFolder) -> Iterator[Finding]:
    """A run's folder."""
    for subject, look in (
        ("files", _readable),
        ("writer", _writer),
        ("checkpoints", _checkpoints),
        ("events", _events),
        ("metrics", _metrics),
        ("room", _room),
        ("clock", _times),
    ):
        yield from _guarded(subject, lambda look=look: look(run))  # type: ignore[misc]


def _guarded(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; a system's refusal is a finding too."""
    try:
        yield from look()
    except OSError as error:
        yield Finding(subject, "bad", f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))


def _python() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        tk = version("tk-pretrain")
    except PackageNotFoundError:
        tk = "not installed, run from its sources"
    return Finding("python", "ok", f"{sys.version.split()[0]}, tk {tk}")


def _torch() -> Iterator[Finding]:
    begun = time.perf_counter()
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "bad", f"can't be imported: {error}. `pip install torch` again")
        return
    seconds = time.perf_counter() - begun
    yield Finding(
        "torch", "note" if seconds > 10 else "ok", f"{torch.__version__}, imported in {seconds:.1f} s"
    )
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        try:
            a = torch.ones(256, 256, device=device, dtype=torch.bfloat16)
            right = float((a @ a)[0, 0]) == 256.0
        except RuntimeError as error:
            yield Finding(f"cuda:{index}", "bad", f"does not compute: {error}")
            continue
        free, total = torch.cuda.mem_get_info(device)
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
        name = torch.cuda.get_device_name(device)
        text = (
            f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free, bfloat16 {'fast' if fast else 'slow'}"
        )
        yield Finding(
            f"cuda:{index}", "ok" if right else "bad", text if right else f"{name} computes wrongly"
        )
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        yield Finding("cuda", "bad", "there is a driver, but this torch can't use it: install a CUDA build")
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        yield Finding("compiler", "note", 'no C++ compiler: run.compile = "on" will not work on the CPU')


def _processor() -> Finding:
    from toolkit.plan.machine import Machine

    machine = Machine.detect()
    device = machine.resolve_device("auto")
    precision = machine.resolve_precision("auto", device)
    return Finding(
        "machine",
        "ok",
        f"{machine.cores} cores, {machine.available / GIB:.1f} of {machine.memory / GIB:.1f} GiB free; "
        f"runs take {device} in {precision}",
    )


def _disk(name: str, folder: Path) -> Iterator[Finding]:
    folder = folder.absolute()
    place = folder
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    text = f"{folder}: {usage.free / GIB:.1f} GiB free"
    if not os.access(place, os.W_OK):
        yield Finding(name, "bad", f"{text}; can't be written: change its rights, or name another")
        return
    if usage.free < 2 * SAMPLE:
        yield Finding(name, "bad", f"{text}: too little for a checkpoint")
        return
    scratch = place / f".tk-doctor-{os.getpid()}"
    try:
        scratch.mkdir()
        speed, skew = _write(scratch)
        exclusive = _keeps_its_word(scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text += f", writes {speed / 1e6:,.0f} MB/s"
    yield Finding(name, "note" if speed < SLOW_DISK else "ok", text)
    if not exclusive:
        yield Finding(
            name,
            "bad",
            "its locks don't keep a second writer out: mount it with working flock (NFS: local_lock=none)",
        )
    if abs(skew) > SKEW:
        yield Finding(name, "note", f"its clock is {skew:+.1f} s off this machine's: synchronise both (NTP)")


def _write(folder: Path) -> tuple[float, float]:
    """Bytes a second with a sync at the end, and how far the disk's clock is ahead of ours."""
    path, block = folder / "sample", os.urandom(1 << 20)
    begun = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(SAMPLE // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begun
    (folder / "now").touch()
    return SAMPLE / seconds, (folder / "now").stat().st_mtime - time.time()


def _keeps_its_word(folder: Path) -> bool:
    """Whether a second opening of a locked file is refused the lock, and an existing name is not made anew."""
    import fcntl

    with (folder / "lock").open("w") as one, (folder / "lock").open("w") as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    with suppress(FileExistsError):
        os.close(os.open(folder / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return False
    return True


def _limits() -> Iterator[Finding]:
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    verdict: Literal["ok", "note"] = "note" if files < 4096 else "ok"
    yield Finding(
        "open files", verdict, f"{files}" + ("; `ulimit -n 65536` allows more" if files < 4096 else "")
    )
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        small = free < GIB
        hint = "; several GPUs exchange data there: in a container, --shm-size 8g" if small else ""
        yield Finding("shared memory", "note" if small else "ok", f"{free / GIB:.1f} GiB free{hint}")


def _name() -> Finding:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return Finding(
            "host name", "note", f"{name} has no address: several machines can't meet here by name"
        )
    return Finding("host name", "ok", name)


def _slurm() -> Iterator[Finding]:
    if shutil.which("sinfo") is None:
        yield Finding("slurm", "ok", "not here; `tk submit` needs it")
        return
    try:
        asked = ["sinfo", "-h", "-o", "%P %D %G"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("slurm", "bad", "sinfo gives no answer in 10 s")
        return
    if done.returncode:
        yield Finding(
            "slurm", "note", f"installed, but not answering: {done.stderr.strip().splitlines()[-1:]}"
        )
    else:
        partitions = "; ".join(line.strip() for line in done.stdout.splitlines()[:8])
        yield Finding("slurm", "ok", f"partitions, nodes, GPUs: {partitions}")


def _readable(run: RunFolder) -> Iterator[Finding]:
    run.refuse_links()
    closed = [path.name for path in run.path.iterdir() if not os.access(path, os.R_OK)]
    if closed:
        yield Finding("files", "bad", f"can't be read: {', '.join(sorted(closed))}. Change their rights")
    elif not os.access(run.path, os.W_OK):
        yield Finding("files", "note", "the folder can't be written: the run can be looked at, not resumed")
    else:
        yield Finding("files", "ok", str(run.path))


def _writer(run: RunFolder) -> Iterator[Finding]:
    from toolkit.plan.record import read_state
    from toolkit.store.health import ACTIVE
    from toolkit.store.lease import read_holder

    state, status = read_state(run)
    holder = read_holder(run)
    if state == "unreadable":
        yield Finding("writer", "bad", f"{run.status} is damaged. `tk run` writes it anew")
    elif state == "dead":
        yield Finding("writer", "note", "its process is gone. `tk run` takes over and resumes")
    elif state in ACTIVE and holder:
        who = f"process {holder.process.pid} on {holder.process.host}"
        yield Finding("writer", "ok", f"{state}, held by {who}")
    else:
        reason = f": {status.reason}" if status and status.reason else ""
        yield Finding("writer", "note" if state == "failed" else "ok", f"{state}{reason}")


def _checkpoints(run: RunFolder) -> Iterator[Finding]:
    from toolkit.store.checkpoints import CheckpointStore
    from toolkit.store.errors import CorruptCheckpoint
    from toolkit.store.manifest import FOLDER, read_checkpoint

    if not run.checkpoints.is_dir():
        yield Finding("checkpoints", "note", "none yet")
        return
    for path in sorted(run.checkpoints.iterdir()):
        if path.name.startswith(".bad-"):
            yield Finding(
                "checkpoints", "note", f"{path.name} was found damaged and set aside; it may be deleted"
            )
        elif path.name.startswith((".tmp-", ".trash-")):
            yield Finding(
                "checkpoints", "note", f"{path.name} is left of an interrupted save; the next removes it"
            )
        elif FOLDER.fullmatch(path.name):
            try:
                read_checkpoint(path)
            except CorruptCheckpoint as error:
                yield Finding("checkpoints", "bad", f"{path.name}: {error.problem}. Resuming passes it over")
    good = CheckpointStore(run).list()
    latest = f", the last at step {good[-1].step}" if good else ""
    yield Finding(
        "checkpoints", "ok", f"{len(good)} with a sound manifest{latest}; `tk verify {run}` reads the files"
    )


def _events(run: RunFolder) -> Iterator[Finding]:
    from toolkit.store.events import read_events

    if not run.events.exists():
        return
    lines = [line for line in run.events.read_bytes().split(b"\n") if line.strip(b"\0 ")]
    whole = read_events(run)
    torn = len(lines) - len(whole)
    text = f"{len(whole)} events"
    yield Finding(
        "events", "note" if torn else "ok", f"{text}, {torn} torn lines are passed over" if torn else text
    )


def _metrics(run: RunFolder) -> Iterator[Finding]:
    from toolkit.store.tail import read_scalars

    series = read_scalars(run.path)
    steps = max((int(found.steps[-1]) for found in series.values() if len(found.steps)), default=0)
    yield Finding("metrics", "ok", f"{len(series)} series, to step {steps}")


def _room(run: RunFolder) -> Iterator[Finding]:
    from toolkit.store.checkpoints import CheckpointStore

    store = CheckpointStore(run)
    listed = store.list()
    if not listed:
        return
    needed, free = listed[-1].size, store.free_bytes()
    verdict: Literal["ok", "bad"] = "bad" if free < 2 * needed else "ok"
    hint = ": free some, or keep fewer (run.keep)" if verdict == "bad" else ""
    yield Finding("room", verdict, f"{free / GIB:.1f} GiB for checkpoints of {needed / GIB:.2f}{hint}")


def _times(run: RunFolder) -> Iterator[Finding]:
    from toolkit.store.heartbeat import last_sign

    ahead = last_sign(run) - time.time()
    if ahead > SKEW:
        yield Finding("clock", "note", f"its last sign of life is {ahead:.0f} s in the future: clocks differ")
