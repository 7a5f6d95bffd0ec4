"""Counts what a run survives. By hand, as it takes minutes:

    python tests/bench/fault_sweep.py kills --count 200
    python tests/bench/fault_sweep.py rank-kills --count 30
    python tests/bench/fault_sweep.py signals --count 40
    python tests/bench/fault_sweep.py damage --count 300

`kills` and `signals` disturb one process at random moments of an attempt, `rank-kills` a random rank of two;
every run is compared bit for bit with an undisturbed one. `damage` alters files of a finished run.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from harness import Bench, kill

from toolkit.engine.job import Job
from toolkit.store.events import read_events

STEPS = 150
EVERY = 3
"""Steps between checkpoints: a good part of the time goes into saving and retention."""
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")


def job(bench: Bench, name: str) -> Job:
    from toolkit.spec.load import load_spec

    loaded = load_spec(
        bench.spec,
        [
            f"name={name}",
            f"train.duration={STEPS} steps",
            f"run.checkpoint_every={EVERY} steps",
            "run.sample_every=50 steps",
        ],
    )
    return Job(root=bench.runs, name=name, spec=loaded.spec, text=loaded.text.decode())


def attempt(work: Job, log: Path) -> int:
    """Fork an attempt; its pid. What can be imported before the fork is."""
    child = os.fork()
    if child:
        return child
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    status = 1
    try:
        import torch

        from toolkit.engine.interrupts import Interrupts
        from toolkit.engine.worker import work as carry_out

        torch.set_num_threads(1)
        interrupts = Interrupts()
        interrupts.install()
        status = carry_out(work, interrupts)
    finally:
        sys.stdout.flush()
        os._exit(status)


def outcome(child: int) -> str:
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else str(os.waitstatus_to_exitcode(status))


def where(bench: Bench, name: str) -> str:
    """What the process that just ended was doing, by what it left."""
    run = bench.folder_of(name)
    if any(run.checkpoints.glob(".tmp-*")):
        return "saving"
    if any(run.checkpoints.glob(".trash-*")):
        return "retention"
    kinds = [event["kind"] for event in read_events(run)]
    if not kinds:
        return "before the run began"
    since = kinds[len(kinds) - kinds[::-1].index("started") :] if "started" in kinds else []
    if "checkpoint" in since:
        return "training"
    if "resumed" in since:
        return "just resumed"
    return "preparing the data" if bench.cold else "beginning"


def disturb(bench: Bench, count: int, names: tuple[str, ...], seed: int) -> None:
    """Runs that are disturbed until `count` signals hit; each ends equal to the undisturbed one."""
    import toolkit.engine.attempt  # noqa: F401

    rng = random.Random(seed)
    log = bench.folder / "log"
    assert outcome(attempt(job(bench, "whole"), log)) == "0", log.read_text()
    places: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    hits, runs, exceptions = 0, 0, 0
    while hits < count:
        name = f"disturbed-{runs}"
        runs += 1
        while True:
            bench.cold = rng.random() < 0.25
            if bench.cold:
                shutil.rmtree(bench.folder / "cache", ignore_errors=True)
            last = hits >= count
            child = attempt(job(bench, name), log)
            if not last:
                time.sleep(rng.uniform(0.02, 2.2))
                kill(child, signal.Signals[rng.choice(names)])
            result = outcome(child)
            outcomes[result] += 1
            if result in ("killed", "75"):
                hits += 1
                places[where(bench, name) if result == "killed" else "stopped"] += 1
            elif result == "0":
                break
            else:
                exceptions += 1
                print(log.read_text()[-2000:])
                break
        bench.assert_equal(name, "whole")
        shutil.rmtree(bench.runs / name)
    print(f"{hits} signals ({', '.join(names)}) over {runs} runs of {STEPS} steps, all equal bit for bit")
    print(f"outcomes of attempts: {dict(outcomes)}; hit while: {dict(places)}; exceptions: {exceptions}")
    assert "Traceback" not in log.read_text()


def rank_kills(bench: Bench, count: int, seed: int) -> None:
    rng = random.Random(seed)
    options = ("--nproc", "2", "train.duration=40 steps")
    bench.run("whole", *options)
    hits, runs = 0, 0
    while hits < count:
        name = f"disturbed-{runs}"
        runs += 1
        while True:
            process = bench.start(name, *options)
            if hits < count:
                time.sleep(rng.uniform(2.0, 9.0))
                with suppress(StopIteration):  # no rank has begun yet
                    kill(bench.rank(name, rng.choice((0, 1))).pid)
            printed = process.communicate(timeout=120)[0]
            if process.returncode == 0:
                break
            hits += 1
            assert process.returncode == 1, printed
            assert "Traceback" not in printed or "ended by SIGKILL" in printed, printed
        bench.assert_equal(name, "whole")
    print(f"{hits} kills of a rank of two over {runs} runs, all equal bit for bit")


def damage(bench: Bench, count: int, seed: int) -> None:
    """Alter one file of a run's folder, then resume: what was damaged is named, or did not matter; never
    another result."""
    import toolkit.engine.attempt  # noqa: F401

    rng = random.Random(seed)
    log = bench.folder / "log"
    assert outcome(attempt(job(bench, "whole"), log)) == "0", log.read_text()
    half = bench.folder / "half"
    child = attempt(job(bench, "half"), log)
    bench.wait_for_step("half", 60, _Child(child))  # type: ignore[arg-type]
    kill(child, signal.SIGTERM)
    assert outcome(child) == "75"
    shutil.copytree(bench.runs / "half", half)
    results: Counter[str] = Counter()
    for _ in range(count):
        shutil.rmtree(bench.runs / "half", ignore_errors=True)
        shutil.copytree(half, bench.runs / "half")
        files = sorted(p for p in (bench.runs / "half").rglob("*") if p.is_file())
        path = rng.choice(files)
        how = rng.choice(("truncate", "flip", "delete", "swap"))
        data = path.read_bytes()
        if how == "delete":
            path.unlink()
        elif how == "truncate":
            path.write_bytes(data[: rng.randrange(len(data))] if data else data)
        elif how == "flip" and data:
            at = rng.randrange(len(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
        elif how == "swap":
            other = rng.choice(files)
            path.write_bytes(other.read_bytes())
        log.write_bytes(b"")
        result = outcome(attempt(job(bench, "half"), log))
        text = log.read_text()
        what = path.relative_to(bench.runs / "half").parts[1]
        assert "Traceback" not in text, f"{how} {path}\n{text}"
        if result == "0":
            bench_final_equal(bench)
            results[f"{what}: resumed equal"] += 1
        else:
            assert result in ("1", "2"), f"{how} {path}: {result}\n{text}"
            assert "error: " in text, f"{how} {path}\n{text}"
            results[f"{what}: refused"] += 1
    for name, number in sorted(results.items()):
        print(f"{number:5d}  {name}")
    print(f"{count} damaged files: no wrong resume, no traceback")


def bench_final_equal(bench: Bench) -> None:
    from harness import differing

    assert differing(bench.final("whole"), bench.final("half")) == []


class _Child:
    """A forked child, as far as the harness asks."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        return None if Path(f"/proc/{self.pid}").exists() else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["kills", "rank-kills", "signals", "damage"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tk-faults-") as folder:
        bench = Bench(Path(folder) / "bench")
        bench.cold = False
        os.environ.update({k: v for k, v in bench.environment.items() if k.startswith("TK_")})
        match given.what:
            case "kills":
                disturb(bench, given.count, ("SIGKILL",), given.seed)
            case "signals":
                disturb(bench, given.count, SIGNALS, given.seed)
            case "rank-kills":
                rank_kills(bench, given.count, given.seed)
            case "damage":
                damage(bench, given.count, given.seed)
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
