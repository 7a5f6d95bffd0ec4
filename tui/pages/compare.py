"""Compare: where the specs of two or more runs differ, what came of it, and the plan beside what it took."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.spec.diff import changes_identity, diff_specs
from tui.lines import Line, Span, clip, clip_left, fill, fit, line, pad, safe
from tui.plot.ticks import number
from tui.state import Desk
from tui.styles import series_style
from tui.watched import Watched

MOST = 6
LEAST_CELLS = 14
LOWER_IS_BETTER = ("loss", "bits_per_byte", "perplexity", "error", "seconds", "gib")


def compared(desk: Desk) -> list[Watched]:
    """The selected runs; with fewer than two, the one under the cursor and those beside it."""
    shown = desk.runs()
    chosen = [run for run in shown if run.name in desk.selected]
    if len(chosen) < 2:
        current = desk.current()
        chosen = ([current] if current else []) + [run for run in shown if run is not current][:1]
    return chosen[:MOST]


def draw_compare(desk: Desk, columns: int, rows: int) -> list[Line]:
    runs = compared(desk)
    if len(runs) < 2:
        return fill([(), line("  Compare needs two runs: select them on 1 Runs with space.")], rows, columns)
    label = min(max(columns // 4, 20), 34)
    wide = max((columns - label - 1) // len(runs) - 1, LEAST_CELLS)
    runs = runs[: max(2, (columns - label) // (LEAST_CELLS + 1))]
    top = fit(
        (
            Span(pad("", label)),
            *(Span(" " + pad(_short(run, wide), wide, right=True), series_style(run)) for run in runs),
        ),
        columns,
    )
    body = [*_specs(runs, label, wide), *_metrics(runs, label, wide), *_plans(runs, label, wide)]
    desk.compare_top = max(0, min(desk.compare_top, len(body) - (rows - 1)))
    return fill([top, *(fit(item, columns) for item in body[desk.compare_top :])], rows, columns)


def _short(run: Watched, cells: int) -> str:
    return clip_left(safe(run.name), cells)


def _specs(runs: Sequence[Watched], label: int, wide: int) -> list[Line]:
    known = [run for run in runs if run.spec]
    if len(known) < 2:
        return [line(("SPEC", "bold")), line(("  not known of these runs", "dim"))]
    views = _views(known)
    keys: dict[str, bool] = {}
    for other in known[1:]:
        for change in diff_specs(views[known[0].name], views[other.name]):
            keys[change.key] = changes_identity(change.key) and _ours(change.key, known)
    lines = [line(("SPEC", "bold"), ("  * changes the result", "dim"))]
    for key, identity in sorted(keys.items(), key=lambda pair: not pair[1]):
        values = [_value(_at(views[run.name], key)) if run.spec else "?" for run in runs]
        lines.append(
            _row(("* " if identity else "  ") + key, values, label, wide, style="" if identity else "dim")
        )
    if not keys:
        lines.append(line(("  equal", "dim")))
    return lines


def _views(runs: Sequence[Watched]) -> dict[str, Mapping[str, Any]]:
    """The specs by run; of several stages, each with its own target and without those of the others."""
    if len({_stage(run) for run in runs}) == 1:
        return {run.name: run.spec for run in runs}
    views: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        shared = {key: value for key, value in run.spec.items() if key != "finetune"}
        target = _at(run.spec, f"finetune.{_stage(run)}")
        views[run.name] = {"stage": _stage(run), **shared, **({"target": target} if target else {})}
    return views


def _ours(key: str, runs: Sequence[Watched]) -> bool:
    """Whether a key of a spec has a part in these runs: the targets of other stages have none."""
    parts = key.split(".")
    return parts[0] != "finetune" or any(parts[1:2] == [_stage(run)] for run in runs)


def _stage(run: Watched) -> str:
    return run.folder.stage if run.folder else ""


def _metrics(runs: Sequence[Watched], label: int, wide: int) -> list[Line]:
    tags: dict[str, None] = {}
    for run in runs:
        tags.update(dict.fromkeys(run.series or (run.status.metrics if run.status else {})))
    lines = [(), line(("METRICS", "bold"), ("  last, and best where it was better", "dim"))]
    ordered = sorted(
        tags, key=lambda tag: (not tag.startswith(("val/", "eval/")), tag.startswith("system/"), tag)
    )
    for tag in ordered:
        lasts = [run.last(tag) for run in runs]
        bests = [_best(run, tag) for run in runs]
        cells = [
            number(last) + (f" ({number(best)})" if best is not None and number(best) != number(last) else "")
            for last, best in zip(lasts, bests, strict=True)
        ]
        ranked = [best if best is not None else last for best, last in zip(bests, lasts, strict=True)]
        lines.append(_row(f"  {safe(tag)}", cells, label, wide, winner=_winner(tag, ranked)))
    return lines


def _best(run: Watched, tag: str) -> float | None:
    points = run.points(tag)
    if points is None or not _judged(tag) or not np.isfinite(points.values).any():
        return None
    return float(np.nanmin(points.values) if _low(tag) else np.nanmax(points.values))


def _judged(tag: str) -> bool:
    return _low(tag) or "accuracy" in tag or tag.endswith(("/f1", "/mfu", "tokens_per_second"))


def _low(tag: str) -> bool:
    return tag.endswith(LOWER_IS_BETTER)


def _winner(tag: str, values: Sequence[float | None]) -> int | None:
    """Which run is best, if one is."""
    there = [(value, index) for index, value in enumerate(values) if value is not None and np.isfinite(value)]
    if len(there) < 2 or not _judged(tag) or len({value for value, _ in there}) == 1:
        return None
    return (min(there) if _low(tag) else max(there))[1]


def _plans(runs: Sequence[Watched], label: int, wide: int) -> list[Line]:
    if not any(run.plan for run in runs):
        return []
    from toolkit.plan.figures import length_of_time, short, size

    words: dict[str, Callable[[float], str]] = {"seconds": length_of_time, "peak_memory": size}
    lines = [(), line(("PLAN AND ACTUAL", "bold"), ("  planned, then what it took so far", "dim"))]
    tables = [_beside(run) for run in runs]
    names: dict[str, None] = {}
    for table in tables:
        names.update(dict.fromkeys(table))
    if not names:
        return []
    for name in names:
        say = words.get(name, short)
        cells = []
        for table in tables:
            planned, actual = table.get(name, (None, None))
            parts = ["-" if value is None else say(value) for value in (planned, actual)]
            cells.append(" / ".join(parts))
        lines.append(_row(f"  {name.replace('_', ' ')}", cells, label, wide))
    return lines


def _beside(run: Watched) -> dict[str, tuple[float | None, float | None]]:
    from pydantic import ValidationError

    from toolkit.plan.plan import Plan
    from toolkit.plan.report import plan_beside_actual

    try:
        plan = Plan.model_validate(dict(run.plan))
    except ValidationError:
        return {}
    return {row.name: (row.planned, row.actual) for row in plan_beside_actual(plan, run.actual)}


def _at(spec: Mapping[str, Any], key: str) -> Any:
    value: Any = spec
    for part in key.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _value(item: Any) -> str:
    return "open" if item is None else item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def _row(
    name: str, cells: Sequence[str], label: int, wide: int, *, style: str = "", winner: int | None = None
) -> Line:
    spans = [Span(pad(clip(safe(name), label), label), style)]
    for index, cell in enumerate(cells):
        spans.append(Span(" " + pad(safe(cell), wide, right=True), "good" if index == winner else style))
    return tuple(spans)
