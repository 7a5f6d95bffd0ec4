"""Curves into a CSV file."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

from tui.pages.charts import tags_of
from tui.state import Desk


def write_csv(desk: Desk, tags: Sequence[str] | None, folder: Path) -> tuple[Path, int]:
    """Write the runs that are drawn, these metrics or all that are shown; the file and its number of points.

    Raises OSError.
    """
    runs = desk.overlaid()
    chosen = list(tags) if tags is not None else tags_of(desk)
    path = folder / f"tk-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    count = 0
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "metric", "step", "time", "value"])
        for run in runs:
            for tag in chosen:
                points = run.points(tag)
                if points is None:
                    continue
                columns = (points.steps.tolist(), points.wall.tolist(), points.values.tolist())
                for step, wall, value in zip(*columns, strict=True):
                    writer.writerow([run.name, tag, step, f"{wall:.3f}", f"{value:.7g}"])
                count += len(points.steps)
    return path, count
