"""Counts what a run survives. By hand, as it takes minutes:

    python tests/bench/fault_sweep.py kills --count 200
    python tests/bench/fault_sweep.py rank-kills --count 30
    python tests/bench/fault_sweep.py signals --count 40
    python tests/bench/fault_sweep.py damage --count 300 [--sharded]

`kills` and `signals` disturb one process at random moments of an attempt, `rank-kills` a random rank of two;
every run is compared bit for bit with an undisturbed one. `damage` alters each file of a stopped run in each way.
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

from harness import Bench, differing, kill

from toolkit.engine.job import Job
from toolkit.store.events import read_events

STEPS = 150
EVERY = 3
"""Steps between checkpoints: a good part of the time goes into saving and retention."""
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")


def overrides(*more: str) -> tuple[str, ...]:
    return (
        f"train.duration={STEPS} steps",
        f"run.checkpoint_every={EVERY} steps",
        "run.sample_every=50 steps",
        *more,
    )


def job(bench: Bench, name: str, *more: str) -> Job:
    from toolkit.spec.load import load_spec

    loaded = load_spec(bench.spec, [f"name={name}", *overrides(*more)])
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
    steps = 200
    options = ("--nproc", "2", f"train.duration={steps} steps")
    bench.run("whole", *options)
    hits, runs = 0, 0
    while hits < count:
        name = f"disturbed-{runs}"
        runs += 1
        while True:
            process = bench.start(name, *options)
            if hits < count:
                # From the start of the ranks, by the step that the run has come to and a moment more.
                bench.wait_for_step(name, rng.randrange(steps), process)
                time.sleep(rng.uniform(0, 0.2))
                with suppress(StopIteration):  # the run is over
                    kill(bench.rank(name, rng.choice((0, 1))).pid)
            printed = process.communicate(timeout=120)[0]
            if process.returncode == 0:
                break
            hits += 1
            assert process.returncode == 1, printed
            assert "Traceback" not in printed or "ended by SIGKILL" in printed, printed
        bench.assert_equal(name, "whole")
    print(f"{hits} kills of a rank of two over {runs} runs, all equal bit for bit")


WAYS = ("truncate", "flip", "delete", "swap")


def damage(bench: Bench, count: int, seed: int, *, sharded: bool) -> None:
    """Alter each file of a stopped run's folder in each way, then resume: what was damaged is named, or did not
    matter; never another result.

    Args:
        count: Of all cases, at most so many, spread evenly.
        sharded: The run was two ranks' work. What resumes it is one process, to an end equal bit for bit: two
            micro-batches of a step are summed in the same order either way, and clipping never sets in.
    """
    import toolkit.engine.attempt  # noqa: F401

    rng = random.Random(seed)
    log = bench.folder / "log"
    same_sums = ("run.micro_batch=4", "train.clip=1000") if sharded else ()
    assert outcome(attempt(job(bench, "whole", *same_sums), log)) == "0", log.read_text()
    half = bench.folder / "half"
    options = ("--nproc", "2") if sharded else ()
    process = bench.start("half", *options, *overrides(*same_sums))
    bench.wait_for_step("half", 60, process)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 75, printed
    shutil.copytree(bench.runs / "half", half)
    files = sorted(path.relative_to(half) for path in half.rglob("*") if path.is_file())
    # Manifests of removed checkpoints are many and alike: one stands for all.
    spare = [path for path in files if "pruned" in path.parts][1:]
    files = [path for path in files if path not in spare]
    cases = [(path, how) for path in files for how in WAYS]
    cases = cases[:: max(1, len(cases) // count)]
    results: Counter[str] = Counter()
    for name, how in cases:
        shutil.rmtree(bench.runs / "half", ignore_errors=True)
        shutil.copytree(half, bench.runs / "half")
        path = bench.runs / "half" / name
        before = path.read_bytes()
        alter(path, how, half / rng.choice(files), rng)
        changed = not path.exists() or path.read_bytes() != before
        step = next((part for part in name.parts if part.startswith("step-")), None)
        found = examined(bench.runs / "half" / "pretrain/checkpoints" / step) if step else None
        if step and changed:
            assert found, f"{how} {name}: taken for intact"
            assert name.name in found or "MANIFEST" in found, f"{how} {name}: {found}"
        log.write_bytes(b"")
        result = outcome(attempt(job(bench, "half", *same_sums), log))
        text = log.read_text()
        assert "Traceback" not in text, f"{how} {name}\n{text}"
        what = "a checkpoint" if step else name.parts[1]
        if result == "0":
            assert differing(bench.final("whole"), bench.final("half")) == [], f"{how} {name}"
            told = "named, " if found and step in text else ""
            results[f"{what}: {told}resumed equal"] += 1
        else:
            assert result in ("1", "2"), f"{how} {name}: {result}\n{text}"
            assert "error: " in text, f"{how} {name}\n{text}"
            assert name.name in text or "half/pretrain" in text, f"{how} {name}\n{text}"
            results[f"{what}: refused by name"] += 1
    for name, number in sorted(results.items()):
        print(f"{number:5d}  {name}")
    print(f"{len(cases)} cases over {len(files)} files: no wrong resume, no traceback")


def alter(path: Path, how: str, other: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    match how:
        case "delete":
            path.unlink()
        case "truncate":
            path.write_bytes(data[: rng.randrange(len(data))] if data else data)
        case "flip" if data:
            at = rng.randrange(len(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
        case "swap":
            path.write_bytes(other.read_bytes())


def examined(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None if nothing is seen to be."""
    from toolkit.store.errors import CorruptCheckpoint
    from toolkit.store.manifest import read_checkpoint, verify_files

    try:
        verify_files(read_checkpoint(folder))
    except CorruptCheckpoint as error:
        return str(error)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["kills", "rank-kills", "signals", "damage"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sharded", action="store_true", help="damage the work of two ranks")
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
                damage(bench, given.count, given.seed, sharded=given.sharded)
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
