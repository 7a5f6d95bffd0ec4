"""How fast event files are read and drawn, beside TensorBoard's EventAccumulator and `wandb leet`.

    python tests/bench/dashboard.py [--steps 100000] [--runs 10] [--leet]

Runs of STEPS events of 10 scalars are read by the dashboard and by EventAccumulator from the same files.
leet reads no event files: with --leet (pip install wandb) the same numbers are logged to an offline run of
wandb, and both programs are opened in a pseudo-terminal of 200x50. Medians of 3, each in its own process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from terminal import Terminal

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tui")]

BYTES = 20
"""Resident memory that a point may take."""
OURS = """
import sys, time
from pathlib import Path
import psutil
from tui.library import Library
from tui.state import Desk
from tui.compose import compose
before = psutil.Process().memory_info().rss
began = time.perf_counter(); cpu = time.process_time()
library = Library(Path(sys.argv[1])); library.list(); library.read(); library.list()
read = time.perf_counter(); after_read = psutil.Process().memory_info().rss
desk = Desk(library, page=sys.argv[2]); compose(desk, 200, 50)
end = time.perf_counter()
cpu = time.process_time() - cpu
series = [s for run in library.runs.values() for s in run.series.values()]
points = sum(len(s) for s in series)
axes = {id(s._now[0]): s._now[0] for s in series}
columns = sum(s._now[1].nbytes for s in series) + sum(a.steps.nbytes + a.wall.nbytes for a in axes.values())
each = (columns, after_read - before, psutil.Process().memory_info().rss - before)
print(points, read - began, end - began, cpu, *(part / max(points, 1) for part in each))
"""
THEIRS = """
import sys, time
from pathlib import Path
import psutil
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
before = psutil.Process().memory_info().rss
began = time.perf_counter(); cpu = time.process_time(); points = 0; kept = []
for folder in sorted({path.parent for path in Path(sys.argv[1]).rglob("*tfevents*")}):
    one = EventAccumulator(str(folder), size_guidance={"scalars": 0}); one.Reload(); kept.append(one)
    points += sum(len(one.Scalars(tag)) for tag in one.Tags()["scalars"])
end = time.perf_counter()
grown = (psutil.Process().memory_info().rss - before) / max(points, 1)
print(points, end - began, end - began, time.process_time() - cpu, grown, grown, grown)
"""


def write(root: Path, runs: int, steps: int) -> None:
    from worlds import WALL, loss_at

    from toolkit.store.tfevents import EventWriter

    tags = ["train/loss", *(f"train/metric_{index}" for index in range(9))]
    for run in range(runs):
        writer = EventWriter(root / f"run{run}")
        for step in range(steps):
            loss = loss_at(step, run)
            writer.scalars(step, {tag: loss + index for index, tag in enumerate(tags)}, WALL + step)
        writer.close()


def measure(code: str, *arguments: str) -> list[float]:
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(word) for word in out.stdout.split()[-7:]]


def medians(code: str, *arguments: str, rounds: int = 3) -> list[float]:
    rows = [measure(code, *arguments) for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def drawing() -> float:
    """Milliseconds of processor time for a chart of 5 curves of 10,000 points at 200x50."""
    import numpy as np

    from tui.plot.chart import Chart, Trace, draw

    x = np.arange(10_000.0)
    rng = np.random.default_rng(0)
    ys = [np.exp(-x / 3000) + run + 0.1 * rng.normal(size=len(x)) for run in range(5)]
    times = []
    for _ in range(30):
        began = time.process_time()
        draw(Chart("loss", [Trace(x, y, f"series{i}") for i, y in enumerate(ys)]), 200, 50)
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times)


def first_paint(root: Path) -> tuple[float, float]:
    """Seconds, and seconds of processor time, until the screen with the runs on it is there."""
    from terminal import Terminal

    rows = []
    for _ in range(5):
        terminal = Terminal(root, columns=200, rows=50)
        terminal.read(30, until=b"Runs")
        rows.append((time.monotonic() - terminal.began, terminal.cpu_seconds()))
        terminal.kill()
    walls, cpus = zip(*rows, strict=True)
    return min(walls), min(cpus)


def write_wandb(root: Path, steps: int) -> Path:
    """The same numbers as an offline run of wandb, the only kind that leet reads; its folder."""
    code = """
import sys, wandb
sys.path[:0] = sys.argv[3:]
from worlds import loss_at
run = wandb.init(mode="offline", project="p", dir=sys.argv[1],
                 settings=wandb.Settings(x_disable_stats=True, console="off", silent=True))
for step in range(int(sys.argv[2])):
    loss = loss_at(step, 0)
    more = {f"train/metric_{index}": loss + index + 1 for index in range(9)}
    run.log({"train/loss": loss, **more}, step=step)
run.finish()
"""
    words = [str(root), str(steps), *sys.path[:2]]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    return next((root / "wandb").glob("offline-run-*"))


def busy_until(terminal: "Terminal", quiet: float = 2.0) -> tuple[float, float, int]:
    """Seconds until a process and its children compute no more; their processor time and MiB of memory."""
    import psutil

    def spent() -> tuple[float, int]:
        cpu, memory = 0.0, 0
        whole = psutil.Process(terminal.pid)
        for process in [whole, *whole.children(recursive=True)]:
            try:
                times = process.cpu_times()
                cpu += times.user + times.system
                memory += process.memory_info().rss
            except psutil.Error:
                continue
        return cpu, memory >> 20

    last, (before, _) = time.monotonic(), spent()
    # On a busy machine a process may be kept waiting right at its start.
    while (
        time.monotonic() - max(last, terminal.began + 5) < quiet and time.monotonic() - terminal.began < 120
    ):
        terminal.read(0.25)
        now, _ = spent()
        if now - before > 0.06:
            last = time.monotonic()
        before = now
    cpu, memory = spent()
    return last - terminal.began, cpu, memory


def beside_leet(one: Path, run: Path) -> None:
    """Both opened in a terminal of 200x50, until they have nothing more to do."""
    from terminal import Terminal

    commands = {
        "tk dash, 10 charts": Terminal(one, "--screen", "charts", columns=200, rows=50, start=False),
        "wandb leet": Terminal(columns=200, rows=50, command=["wandb", "leet", str(run)], start=False),
    }
    for name, terminal in commands.items():
        rows = []
        for _ in range(3):
            terminal.start()
            rows.append(busy_until(terminal))
            terminal.kill()
        wall, cpu, memory = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:34}quiet after {wall:.1f} s, {cpu:.2f} s of processor time, {memory:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--leet", action="store_true", help="wandb leet too")
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"chart of 5 x 10,000 points at 200x50: {drawing():.1f} ms")
    with tempfile.TemporaryDirectory() as folder:
        one, many = Path(folder) / "one", Path(folder) / "many"
        write(one, 1, arguments.steps)
        write(many, arguments.runs, arguments.steps)
        header = f"{'':34}{'points':>12}{'read s':>9}{'drawn s':>9}{'cpu s':>8}"
        print(f"{header}   bytes a point: in columns, resident once read, once drawn (budget: {BYTES})")
        for name, code, words in (
            ("one run, runs screen", OURS, (str(one), "runs")),
            ("one run, 10 charts", OURS, (str(one), "charts")),
            (f"{arguments.runs} runs, runs screen", OURS, (str(many), "runs")),
            (f"{arguments.runs} runs, 10 charts", OURS, (str(many), "charts")),
            ("one run, EventAccumulator", THEIRS, (str(one),)),
        ):
            points, read, drawn, cpu, *each = medians(code, *words)
            bytes_each = "".join(f"{part:9.1f}" for part in each)
            over = "  over the budget" if code is OURS and each[-1] > BYTES else ""
            print(f"{name:34}{points:12,.0f}{read:9.2f}{drawn:9.2f}{cpu:8.2f}{bytes_each}{over}")
        if arguments.leet:
            beside_leet(one, write_wandb(Path(folder), arguments.steps))
        wall, cpu = first_paint(one)
        print(f"first paint of 1M points' folder: {wall:.2f} s, of which {cpu:.2f} s of processor time")


if __name__ == "__main__":
    main()
