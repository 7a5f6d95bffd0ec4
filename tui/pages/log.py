"""Log and samples: what a run printed, and what its model wrote, by step."""

import textwrap
from pathlib import Path

from tui.filters import BadFilter, match_names
from tui.lines import Line, Span, beside, clip, fill, fit, line, safe
from tui.state import Desk
from tui.textfiles import Sample, TextTail, parse_samples
from tui.watched import Watched

SIDE_BY_SIDE = 140
"""Columns from which on both are shown."""
SAMPLE_COLUMNS = 34
WARNINGS = ("error", "failed", "traceback", "corrupt")

_tails: dict[Path, TextTail] = {}


def tail_of(path: Path) -> TextTail:
    """The file, read up to its present end."""
    if path not in _tails:
        if len(_tails) > 50:
            _tails.clear()
        _tails[path] = TextTail(path)
    _tails[path].poll()
    return _tails[path]


def draw_log(desk: Desk, columns: int, rows: int) -> list[Line]:
    run = desk.current()
    if run is None:
        return fill([(), line("  No run.")], rows, columns)
    if columns >= SIDE_BY_SIDE:
        left = columns * 11 // 20
        blocks = [
            (_log(desk, run, left, rows, alone=False), left),
            (_samples(desk, run, columns - left - 3, rows), columns - left - 3),
        ]
        return beside(blocks, rows, " | " if desk.marker == "ascii" else " │ ")
    return fill((_samples if desk.samples else _log)(desk, run, columns, rows), rows, columns)


def scroll_log(desk: Desk, by: int, rows: int) -> None:
    """Move by so many lines; the end follows what is new."""
    last = max(desk.log_length - rows, 0)
    top = last if desk.log_top is None else desk.log_top
    top = max(0, top + by)
    desk.log_top = None if top >= last else top


def _log(desk: Desk, run: Watched, columns: int, rows: int, *, alone: bool = True) -> list[Line]:
    if run.folder is None:
        return [(), line(f"  {safe(run.name)} is a log of another program: it has no console log.")]
    tail = tail_of(run.folder.console)
    try:
        kept = match_names(desk.log_filter, tail.lines) if desk.log_filter else tail.lines
    except BadFilter:
        kept = tail.lines
    desk.log_length = len(kept)
    height = rows - 1
    top = max(len(kept) - height, 0) if desk.log_top is None else min(desk.log_top, max(len(kept) - 1, 0))
    parts = [safe(run.name), f"{len(kept):,} lines" + (", its end" if tail.cut else "")]
    parts.append("following" if desk.log_top is None else f"from line {top + 1:,}")
    if desk.log_filter:
        parts.append(f"filter {desk.log_filter}")
    if alone:
        parts.append("tab: samples")
    lines = [fit(line((f" {'  '.join(parts)}", "dim")), columns)]
    for text in kept[top : top + height]:
        style = "warn" if text.startswith("warning") else ""
        style = "bad" if text.lower().startswith(WARNINGS) else style
        lines.append(fit((Span(f" {safe(text)}", style),), columns))
    if not kept:
        lines += [
            (),
            line(("  nothing has been printed" + (" that matches" if desk.log_filter else " yet"), "dim")),
        ]
    return lines


def _samples(desk: Desk, run: Watched, columns: int, rows: int) -> list[Line]:
    samples = parse_samples(tail_of(run.folder.samples).lines) if run.folder else []
    if not samples:
        return [(), line(("  no samples: the run has written none", "dim"))]
    prompts = list(dict.fromkeys(sample.prompt for sample in samples))
    prompt = prompts[desk.sample_prompt % len(prompts)]
    ours = [sample for sample in samples if sample.prompt == prompt]
    across = max(1, columns // SAMPLE_COLUMNS)
    chosen = _spread(ours, across)
    shown = repr(prompt) if prompt else "no prompt"
    turn = f"  prompt {prompts.index(prompt) + 1}/{len(prompts)}, ← → others" if len(prompts) > 1 else ""
    lines = [fit(line((" samples of ", "dim"), safe(shown), (turn, "dim")), columns)]
    wide = (columns - (across - 1)) // across
    blocks = [(_sample(sample, wide), wide) for sample in chosen]
    return [*lines, *beside(blocks, rows - 1)]


def _spread(samples: list[Sample], count: int) -> list[Sample]:
    """The last ones, with the first where there is room: how far it came."""
    if len(samples) <= count:
        return samples
    if count == 1:
        return samples[-1:]
    places = {round(index * (len(samples) - 1) / (count - 1)) for index in range(count)}
    return [samples[place] for place in sorted(places)]


def _sample(sample: Sample, columns: int) -> list[Line]:
    lines: list[Line] = [line((clip(f" step {sample.step:,}", columns), "bold"))]
    for index, text in enumerate((sample.prompt + sample.text).split("\n")):
        clean = safe(text.expandtabs(4))
        wrapped = textwrap.wrap(clean, columns - 2, drop_whitespace=False, break_on_hyphens=False) or [""]
        for part in wrapped:
            if index == 0 and part is wrapped[0] and part.startswith(sample.prompt) and sample.prompt:
                lines.append(line(" ", (sample.prompt, "accent"), part[len(sample.prompt) :]))
            else:
                lines.append(line(f" {part}"))
    return lines
