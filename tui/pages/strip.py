"""This machine in a line or a few, with a bar for each GPU: its own, else those that a run saw where it is."""

from collections.abc import Callable, Mapping

from tui.lines import Line, Span, clip, fit, pad, safe, width
from tui.plot.chart import bar
from tui.state import Desk
from tui.watched import Watched

WIDE = 120
"""Columns from which GPUs have bars."""
CELL, BAR = 46, 12
"""Cells of a GPU, and of its bar."""
Counter = Callable[[str], float | None]


def host_strip(desk: Desk, run: Watched | None, columns: int, rows: int) -> list[Line]:
    """In at most so many rows; none before anything is known."""
    first = _host(desk.host) if desk.host else []
    whose, gpus = _gpus(desk, run)
    if not first and not gpus:
        return []
    if whose:
        first.append(Span(f"  GPUs as {clip(safe(whose), 40)} saw them", "dim"))
    across = columns // CELL
    if gpus and columns >= WIDE and rows >= 1 + -(-len(gpus) // across):
        cells = [_bar(desk, index, gpu) for index, gpu in enumerate(gpus)]
        each = columns // across
        lines = [
            fit(tuple(span for cell in cells[begin : begin + across] for span in fit(cell, each)), columns)
            for begin in range(0, len(cells), across)
        ]
        return [fit(tuple(first), columns), *lines]
    for index, gpu in enumerate(gpus):
        text = f"{_percent(gpu('utilization'))} {_memory(gpu)}".strip()
        _say(first, f"gpu{index}", text, alarm=bool(gpu("throttle")))
    return [fit(tuple(first), columns)]


def _host(host: Mapping[str, float]) -> list[Span]:
    spans = [Span(" host", "dim")]
    if (cpu := host.get("cpu/utilization")) is not None:
        _say(spans, "cpu", _percent(cpu))
    used, total = host.get("memory/used_gib"), host.get("memory/total_gib")
    if used is not None and total:
        _say(spans, "mem", f"{used:.1f}/{total:.0f} GiB", alarm=used > 0.95 * total)
    if (free := host.get("disk/free_gib")) is not None:
        _say(spans, "disk", f"{free:.0f} GiB free", alarm=free < 2)
    return spans


def _say(spans: list[Span], name: str, text: str, *, alarm: bool = False) -> None:
    spans += [Span(f"  {name} ", "dim"), Span(text, "bad" if alarm else "")]


def _gpus(desk: Desk, run: Watched | None) -> tuple[str, list[Counter]]:
    """Whose GPUs, empty for this machine's, and their counters."""
    own = _count(desk.host.get)
    if own or run is None:
        return "", own
    seen = _count(lambda name: _last(run, f"system/{name}"))
    return (run.name, seen) if seen else ("", [])


def _count(counter: Counter) -> list[Counter]:
    found: list[Counter] = []
    while any(counter(f"gpu{len(found)}/{name}") is not None for name in ("utilization", "memory_gib")):
        found.append(_below(counter, f"gpu{len(found)}/"))
    return found


def _below(counter: Counter, prefix: str) -> Counter:
    return lambda name: counter(prefix + name)


def _last(run: Watched, tag: str) -> float | None:
    points = run.points(tag)
    return None if points is None else float(points.values[-1])


def _bar(desk: Desk, index: int, gpu: Counter) -> Line:
    use, warm = gpu("utilization"), gpu("temperature_celsius")
    words = [pad(_percent(use), 4, right=True), pad(_memory(gpu), 11, right=True)]
    if warm is not None:
        words.append(f"{warm:.0f}°")
    alarm = bool(gpu("throttle"))
    if alarm:
        words.append("slowed")
    name = pad(f" gpu{index}", 7)
    shown = bar(use, BAR, desk.marker)
    text = " " + " ".join(words)
    spans = (
        Span(name, "dim"),
        Span(shown, "bad" if alarm else "series0"),
        Span(text, "bad" if alarm else ""),
    )
    return (*spans, Span(" " * max(CELL - width(spans), 0)))


def _memory(gpu: Counter) -> str:
    used, total = gpu("memory_gib"), gpu("memory_total_gib")
    return "" if used is None else f"{used:.0f}/{total or 0:.0f} GiB"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}%"
