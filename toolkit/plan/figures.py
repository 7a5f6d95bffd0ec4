"""Figures as people read them."""

_SUFFIXES = tuple((1000.0**n, "kMBTPEZY"[n - 1]) for n in range(8, 0, -1))


def flop(count: float) -> str:
    """A number of operations: 614 TFLOP."""
    figure = short(count).replace("B", "G")
    return f"{figure[:-1]} {figure[-1]}FLOP" if figure[-1].isalpha() else f"{figure} FLOP"


def short(count: float) -> str:
    """A count in three figures: 12.3M."""
    for unit, suffix in _SUFFIXES:
        if count >= 0.9995 * unit:  # 999,500 is 1M, as three figures of it in thousands would be 1e+03k
            return f"{count / unit:.3g}{suffix}"
    return f"{count:.3g}"


def size(count: float) -> str:
    """Bytes in the unit that fits, in three figures: 51.3 MiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            value = count / unit
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{count:.0f} bytes"


def length_of_time(seconds: float) -> str:
    """The two largest units: 3 min 12 s."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    raise AssertionError("a minute or more")
