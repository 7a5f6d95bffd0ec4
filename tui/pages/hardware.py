"""Hardware: GPUs, processor, memory, disk and network, now and over time; this machine's or a run's own."""

from collections.abc import Callable, Mapping

import numpy as np

from toolkit.plan.devices import throttle_words
from toolkit.store.tail import Points
from tui.lines import Line, Span, clip, fill, fit, line, pad, safe
from tui.plot.chart import bar, sparkline
from tui.state import Desk
from tui.watched import Watched

SAMPLES = 8
"""In a cell of a history."""
WIDE = 140
"""Columns from which a GPU in one line has its history, too."""
Lookup = Callable[[str], Points | None]


def draw_hardware(desk: Desk, columns: int, rows: int) -> list[Line]:
    lines = _blocks(desk, columns, short=False)
    if len(lines) > rows:
        lines = _blocks(desk, columns, short=True)
    desk.hardware_top = max(0, min(desk.hardware_top, len(lines) - rows))
    left = len(lines) - desk.hardware_top - rows
    shown = lines[desk.hardware_top : desk.hardware_top + rows]
    if left > 0:
        shown[-1] = line((f"   … {left + 1} more lines, by page down", "dim"))
    return fill(shown, rows, columns)


def _blocks(desk: Desk, columns: int, *, short: bool) -> list[Line]:
    """Everything there is to tell; in short with a line for each GPU."""
    run = desk.current()
    blocks = [_machine(desk, "this machine", desk.local.points, columns, names=desk.local.names, short=short)]
    if desk.local.missing:
        blocks[0].insert(1, line((f"   GPUs: {safe(desk.local.missing)}", "dim")))
    if run is not None:
        for host in _hosts(run):
            prefix = f"{host}/system/" if host else "system/"
            title = f"as {safe(run.name)} saw it" + (f" on {safe(host)}" if host else "")
            blocks.append(_machine(desk, title, _lookup(run, prefix), columns, names=[], short=short))
    blocks.append(_processes(desk))
    return [row for block in blocks for row in ([*block, ()] if block else [])][:-1]


def _hosts(run: Watched) -> list[str]:
    """The hosts whose counters the run wrote; empty for its first."""
    found = [""] if any(tag.startswith("system/") for tag in list(run.series)) else []
    return found + [
        host
        for host, known in run.tail.hosts.items()
        if any(tag.startswith("system/") for tag in list(known))
    ]


def _lookup(run: Watched, prefix: str) -> Lookup:
    return _below(run.points, prefix)


def _below(points: Lookup, prefix: str) -> Lookup:
    return lambda name: points(prefix + name)


def _machine(
    desk: Desk, title: str, points: Lookup, columns: int, names: list[str], *, short: bool
) -> list[Line]:
    lines = [line((f" {title}", "bold"))]
    index = 0
    while any(
        points(f"gpu{index}/{name}") is not None for name in ("utilization", "memory_gib", "power_watts")
    ):
        name = names[index] if index < len(names) else ""
        below = _below(points, f"gpu{index}/")
        if short:
            lines.append(_gpu_row(desk, index, below, columns))
        else:
            lines += _gpu(desk, index, safe(name), below, columns)
        index += 1
    lines += _host(desk, points, columns)
    return lines if len(lines) > 1 else [*lines, line(("   no counters yet", "dim"))]


def _now(points: Points | None) -> float | None:
    return None if points is None else float(points.values[-1])


def _meter(
    desk: Desk,
    name: str,
    share: float | None,
    text: str,
    history: Points | None,
    columns: int,
    *,
    alarm: bool = False,
) -> Line:
    """A name, a bar, a figure, and how it went."""
    bars = 20 if columns >= 100 else 10
    words = 26
    sparks = max(min(columns - 14 - bars - words - 4, 80), 0)
    style = "bad" if alarm else ""
    spark = "" if history is None else _went(history, sparks, desk)
    return fit(
        (
            Span(f"   {pad(name, 12)}", "dim"),
            Span(bar(share, bars, desk.marker), style or "series0"),
            Span(f" {pad(text, words)} ", style),
            Span(spark, "dim"),
        ),
        columns,
    )


def _went(history: Points, cells: int, desk: Desk) -> str:
    """The history, each cell the mean of some samples: it then moves on only now and then."""
    whole = len(history.values) // SAMPLES * SAMPLES
    means = history.values[:whole].reshape(-1, SAMPLES).mean(axis=1)[-cells:] if cells else history.values[:0]
    return sparkline(means.astype(np.float64), min(len(means), cells), desk.marker).rjust(cells)


def _gpu(desk: Desk, index: int, name: str, points: Lookup, columns: int) -> list[Line]:
    now = {key: _now(points(key)) for key in KEYS}
    head = [Span(f"  gpu{index}", "accent"), Span(f" {name}" if name else "")]
    lines: list[Line] = [(*head, *_alarms(now))]
    use, used, total = now["utilization"], now["memory_gib"], now["memory_total_gib"]
    lines.append(_meter(desk, "use", use, _percent(use), points("utilization"), columns))
    share = used / total if used is not None and total else None
    text = "-" if used is None else f"{used:.1f} of {total or 0:.0f} GiB"
    lines.append(
        _meter(desk, "memory", share, text, points("memory_gib"), columns, alarm=(share or 0) > 0.97)
    )
    power, limit = now["power_watts"], now["power_limit_watts"]
    if power is not None:
        text = f"{power:.0f} W" + (f" of {limit:.0f} W" if limit else "")
        lines.append(
            _meter(desk, "power", power / limit if limit else None, text, points("power_watts"), columns)
        )
    warm = now["temperature_celsius"]
    if warm is not None:
        alarm = warm >= 87
        lines.append(
            _meter(
                desk,
                "temperature",
                warm / 100,
                f"{warm:.0f} °C",
                points("temperature_celsius"),
                columns,
                alarm=alarm,
            )
        )
    clock, most = now["sm_clock_mhz"], now["sm_clock_max_mhz"]
    if clock is not None:
        text = f"{clock:.0f} MHz" + (f" of {most:.0f}" if most else "")
        lines.append(
            _meter(desk, "SM clock", clock / most if most else None, text, points("sm_clock_mhz"), columns)
        )
    links = _links(now)
    if links:
        lines.append(fit(line((f"   {'  '.join(links)}", "dim")), columns))
    return lines


def _gpu_row(desk: Desk, index: int, points: Lookup, columns: int) -> Line:
    """A GPU in one line."""
    now = {key: _now(points(key)) for key in KEYS}
    clock = now["sm_clock_mhz"]
    warm = now["temperature_celsius"]
    words = (
        _percent(now["utilization"]).rjust(6),
        _of(now["memory_gib"], now["memory_total_gib"], "GiB").rjust(11),
        _of(now["power_watts"], now["power_limit_watts"], "W").rjust(11),
        ("-" if warm is None else f"{warm:.0f} °C").rjust(7),
        ("-" if clock is None else f"{clock:.0f} MHz").rjust(9),
    )
    history = points("utilization") if columns >= WIDE else None
    spans = (
        Span(f"  {pad(f'gpu{index}', 5)}", "accent"),
        Span(bar(now["utilization"], 10, desk.marker), "series0"),
        Span("".join(words)),
        Span("" if history is None else f"  {_went(history, 40, desk)}", "dim"),
        *_alarms(now),
        Span("  " + "  ".join(_links(now)), "dim"),
    )
    return fit(spans, columns)


def _of(value: float | None, most: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}/{most:.0f} {unit}" if most else f"{value:.0f} {unit}"


def _alarms(now: Mapping[str, float | None]) -> Line:
    alarms = []
    if now["throttle"]:
        alarms.append(f"slowed: {throttle_words(now['throttle'])}")
    if now["ecc_uncorrected"]:
        alarms.append(f"{now['ecc_uncorrected']:.0f} uncorrected ECC errors")
    if now["xid"]:
        alarms.append(f"XID {now['xid']:.0f}")
    return (Span(f"  {', '.join(alarms)}", "bad"),) if alarms else ()


def _links(now: Mapping[str, float | None]) -> list[str]:
    links = []
    for words, key in (("PCIe", "pcie"), ("NVLink", "nvlink")):
        pair = now[f"{key}_received_mib_s"], now[f"{key}_sent_mib_s"]
        if pair[0] is not None or pair[1] is not None:
            links.append(f"{words} in {_rate(pair[0])}, out {_rate(pair[1])}")
    if now["ecc_uncorrected"] is not None:
        links.append(f"ECC {now['ecc_uncorrected']:.0f}, rows remapped {now['remapped_rows'] or 0:.0f}")
    return links


KEYS = (
    "utilization", "memory_gib", "memory_total_gib", "power_watts", "power_limit_watts",
    "temperature_celsius", "sm_clock_mhz", "sm_clock_max_mhz", "throttle", "ecc_uncorrected",
    "remapped_rows", "xid",
    "pcie_received_mib_s", "pcie_sent_mib_s", "nvlink_received_mib_s", "nvlink_sent_mib_s",
)  # fmt: skip


def _host(desk: Desk, points: Lookup, columns: int) -> list[Line]:
    lines: list[Line] = []
    cpu = points("cpu/utilization")
    if cpu is not None:
        lines.append(_meter(desk, "cpu", _now(cpu), _percent(_now(cpu)), cpu, columns))
    memory, total = points("memory/used_gib"), _now(points("memory/total_gib"))
    used = _now(memory)
    if used is not None and total:
        lines.append(
            _meter(
                desk,
                "memory",
                used / total,
                f"{used:.1f} of {total:.0f} GiB",
                memory,
                columns,
                alarm=used > 0.95 * total,
            )
        )
    free = _now(points("disk/free_gib"))
    if free is not None:
        lines.append(
            fit(
                line(("   disk        ", "dim"), (f"{free:.1f} GiB free", "bad" if free < 2 else "")), columns
            )
        )
    for name, first, second, words in (
        ("disk i/o", "disk/read_mib_s", "disk/written_mib_s", ("read", "written")),
        ("network", "network/received_mib_s", "network/sent_mib_s", ("in", "out")),
    ):
        one, two = points(first), points(second)
        if one is not None and two is not None:
            text = f"{words[0]} {_rate(_now(one))}, {words[1]} {_rate(_now(two))}"
            lines.append(fit(line((f"   {pad(name, 12)}", "dim"), text), columns))
    return lines


def _processes(desk: Desk) -> list[Line]:
    if not desk.local.processes:
        return []
    lines = [line((" processes on the GPUs", "bold"))]
    for one in desk.local.processes:
        memory = "-" if one.memory is None else f"{one.memory / 2**30:.1f} GiB"
        lines.append(line(f"   gpu{one.gpu}  {one.pid:>8}  {memory:>10}  {clip(safe(one.name), 40)}"))
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _rate(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1024:.1f} GiB/s" if value >= 1024 else f"{value:.1f} MiB/s"
