"""Round numbers on axes, and the words for them."""

import math
import time
from typing import NamedTuple


class Ticks(NamedTuple):
    """Where ticks stand, and their labels."""

    places: list[float]
    labels: list[str]


def step_for(span: float, count: int) -> float:
    """The round step (1, 2 or 5 times a power of ten) that cuts `span` into about `count` parts."""
    if not span > 0 or not math.isfinite(span):
        return 1.0
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 5):
        if raw <= factor * power * 1.0001:
            return factor * power
    return 10 * power


def linear_ticks(low: float, high: float, count: int, *, whole: bool = False) -> Ticks:
    """At most some `count` ticks between `low` and `high`. `whole` keeps to whole numbers, as steps are."""
    step = step_for(high - low, count)
    if whole:
        step = max(step, 1.0)
    first = math.ceil(low / step - 1e-9)
    places = [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return Ticks(places, [figure(place, step, decimals) for place in places])


def log_ticks(low: float, high: float, count: int) -> Ticks:
    """Ticks between 10**low and 10**high, powers of ten where there are enough; places are exponents."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if last - first >= 1:
        every = max(1, math.ceil((last - first + 1) / max(count, 1)))
        places = [float(power) for power in range(first, last + 1, every)]
        return Ticks(places, [_power(int(place)) for place in places])
    inner = linear_ticks(10.0**low, 10.0**high, count)
    kept = [(place, label) for place, label in zip(*inner, strict=True) if place > 0]
    return Ticks([math.log10(place) for place, _ in kept], [label for _, label in kept])


def time_ticks(low: float, high: float, count: int) -> Ticks:
    """Ticks of a length of time in seconds."""
    span, step = high - low, 1.0
    for step in (1.0, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 604800):
        if span / step <= count:
            break
    else:
        step = step_for(span / 86400, count) * 86400
    first = math.ceil(low / step - 1e-9)
    places = [float(index * step) for index in range(first, math.floor(high / step + 1e-9) + 1)]
    return Ticks(places, [duration(place) for place in places])


def clock_ticks(low: float, high: float, count: int) -> Ticks:
    """Ticks of Unix times, as clock times, and as dates where the span is long."""
    offset = time.localtime(low).tm_gmtoff or 0 if math.isfinite(low) else 0
    inner = time_ticks(low + offset, high + offset, count)
    places = [place - offset for place in inner.places]
    pattern = "%H:%M:%S" if high - low < 300 else "%H:%M" if high - low < 86400 else "%m-%d %H:%M"
    return Ticks(places, [time.strftime(pattern, time.localtime(place)) for place in places])


def duration(seconds: float) -> str:
    """A length of time in few characters: 45s, 3m20, 2h05, 3d4h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}" if whole % 60 else f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def figure(value: float, step: float, decimals: int) -> str:
    """A tick's number: 1.2k and 3M for large ones, so many decimals as the step needs."""
    if value == 0:
        return "0"
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit and step >= unit / 1000:
            places = max(0, -math.floor(math.log10(step / unit) + 1e-9))
            return f"{value / unit:.{places}f}{suffix}"
    if abs(value) >= 1e6 or decimals > 6:
        return f"{value:.2g}" if decimals > 6 else f"{value:.7g}"
    return f"{value:.{decimals}f}"


def number(value: float | None, digits: int = 4) -> str:
    """A metric in few characters; `-` where there is none."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    size = abs(value)
    if size >= 10**digits:
        for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
            if size >= unit * 0.9995:
                return f"{value / unit:.{max(digits - 1, 3)}g}{suffix}"
    if size and size < 1e-3:
        return f"{value:.{max(digits - 2, 1)}e}".replace("e-0", "e-")
    if value == int(value):
        return str(int(value))
    return f"{value:.{digits}g}" if size >= 1 else f"{value:.{digits - 1}g}"


def _power(exponent: int) -> str:
    return f"{10**exponent:g}" if -4 <= exponent <= 3 else f"1e{exponent}"
