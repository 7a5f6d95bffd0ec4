"""Score against labels, as PNG, SVG and pixels."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from toolkit.evals.transfer.report import TransferReport
from toolkit.store.png import write_png
from toolkit.store.tfevents import EventWriter

COLOURS = {"parent": "#0b6e4f", "scratch": "#b4541a"}


def draw(report: TransferReport) -> Figure:
    """Means with 95 % intervals, over a logarithmic axis of labels."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    labels = [row.labels for row in report.rows]
    names = {"parent": f"from {report.design.parent}", "scratch": "from scratch"}
    for arm, name in names.items():
        found = [getattr(row, arm) for row in report.rows]
        half = [0.0 if point.n < 2 else point.half for point in found]
        means = [point.mean for point in found]
        axes.errorbar(
            labels, means, yerr=half, label=name, color=COLOURS[arm], marker="o", markersize=4, capsize=3
        )
    axes.set_xscale("log")
    axes.set_xticks(labels, [f"{n:,}" for n in labels])
    axes.minorticks_off()
    axes.set_xlabel("labels")
    axes.set_ylabel(report.metric.removeprefix("val/").replace("_", " "), parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    seeds = len(report.design.seeds)
    axes.set_title(
        f"{report.design.stage}: {seeds} seed{'s' if seeds > 1 else ''}, {report.design.steps} steps each",
        fontsize=10,
        parse_math=False,
    )
    return figure


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """NAME.png and NAME.svg in the folder, and an event file with the picture for TensorBoard; the first two."""
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    for path in paths:
        figure.savefig(path, dpi=150)
    picture = pixels(figure)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    height, width = picture.shape[:2]
    events = EventWriter(folder)
    events.image(0, name, write_png(picture.tobytes(), width, height), width, height)
    events.close()
    return paths


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """(height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
