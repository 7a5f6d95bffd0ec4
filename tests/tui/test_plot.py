"""Charts: what must be seen is seen."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.lines import clip, fit, line, pad, plain, width
from tui.plot.chart import Chart, Mark, Trace, bar, draw, sparkline
from tui.plot.raster import GRIDS, Window, cells, rasterise
from tui.plot.smooth import PART, Smoother
from tui.plot.spikes import SpikeFinder
from tui.plot.ticks import duration, linear_ticks, number, time_ticks


def columns_of(dots: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(dots[:, column]).tolist() for column in range(dots.shape[1])]


def test_no_spike_is_lost() -> None:
    x = np.arange(1_000_000.0)
    y = np.zeros(len(x))
    y[777_777] = 1.0
    dots = rasterise(x, y, Window(0, 1e6, 0, 1), (40, 100))
    assert dots[0].sum() >= 1
    assert abs(int(np.flatnonzero(dots[0])[0]) - 77) <= 1


def test_gaps_are_left_open() -> None:
    x = np.arange(100.0)
    y = np.ones(100)
    y[40:60] = np.nan
    dots = rasterise(x, y, Window(0, 99, 0, 2), (9, 100))
    filled = [bool(column) for column in columns_of(dots)]
    assert filled == [True] * 40 + [False] * 20 + [True] * 40
    apart = np.concatenate([np.arange(40.0), np.arange(80.0, 100.0)])
    dots = rasterise(apart, np.ones(60), Window(0, 99, 0, 2), (9, 100))
    assert [bool(column) for column in columns_of(dots)] == [True] * 40 + [False] * 40 + [True] * 20


def test_a_curve_is_joined() -> None:
    dots = rasterise(np.array([0.0, 99.0]), np.array([0.0, 1.0]), Window(0, 99, 0, 1), (50, 100))
    filled = columns_of(dots)
    assert all(filled)
    for left, right in pairwise(filled):
        assert min(left) - 1 <= max(right), "each column touches the next"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=0, max_size=60),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["braille", "block", "ascii"]),
    st.tuples(st.integers(1, 120), st.integers(1, 40)),
)
def test_anything_is_drawn_in_its_size(values: list[float], log: bool, outliers: bool, marker, size) -> None:
    y = np.array(values, np.float64)
    x = np.arange(len(y), dtype=np.float64)
    chart = Chart("t", [Trace(x, y, "series0", label="a")], [Mark(1, "◆", "good")], log=log, marker=marker)
    chart.clip_outliers, chart.cursor = outliers, 3.0
    with np.errstate(all="ignore"):
        lines = draw(chart, *size)
    assert len(lines) == size[1]
    assert {width(row) for row in lines} == {size[0]}


def test_every_dot_of_a_cell_has_its_character() -> None:
    for marker, grid in GRIDS.items():
        assert len(grid.characters) == 1 << (grid.across * grid.down)
        for dot in range(grid.across * grid.down):
            dots = np.zeros((grid.down, grid.across), bool)
            dots[dot // grid.across, dot % grid.across] = True
            assert cells(dots, marker).tolist() == [[1 << dot]]
    assert GRIDS["braille"].characters[0b00000001] == "⠁"
    assert GRIDS["braille"].characters[0b10000000] == "⢀"


@pytest.mark.parametrize("weight", [0.0, 0.6, 0.9, 0.999])
def test_smoothing_is_tensorboards(weight: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=2000).astype(np.float32)
    values[100:110] = np.nan
    expected, mean, seen = [], 0.0, 0
    for value in values.tolist():
        if not math.isfinite(value):
            expected.append(math.nan)
            continue
        mean = weight * mean + (1 - weight) * value
        seen += 1
        expected.append(mean / (1 - weight**seen))
    whole = Smoother(weight).update(values)
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-6)
    by_parts = Smoother(weight)
    for end in (1, 7, 64, 65, 105, 1999, 2000):
        part = by_parts.update(values[:end])
    np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-7)


def test_spikes_are_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    values = (3 * np.exp(-np.arange(5000) / 800) + 2 + 0.05 * rng.normal(size=5000)).astype(np.float32)
    assert SpikeFinder().update(values) == []
    values[[1234, 4000]] += 3
    assert SpikeFinder().update(values) == [1234, 4000]
    by_parts, whole = SpikeFinder(), np.concatenate([values, np.full(PART, 2.0, np.float32), values[:99] + 9])
    for end in (1, 2, 52, 1235, 4000, 5000, PART + 1, len(whole)):
        found = by_parts.update(whole[:end])
    assert found == SpikeFinder().update(whole)
    assert found[:3] == [1234, 4000, 5000 + PART]


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(1, 12))
def test_ticks_are_round_and_few(low: float, span: float, count: int) -> None:
    ticks = linear_ticks(low, low + span, count)
    assert len(ticks.places) <= 2 * count + 2
    assert all(low - span * 1e-6 <= place <= low + span * (1 + 1e-6) for place in ticks.places)


def test_figures_are_short() -> None:
    assert [number(value) for value in (1.0, 0.36812, 2.5e-5, 6184.2, 11342, 1.2e9, math.nan, None)] == [
        *("1", "0.368", "2.50e-5", "6184", "11.3k", "1.2G", "nan", "-")
    ]
    assert [duration(seconds) for seconds in (5, 200, 7500, 270000)] == ["5s", "3m20", "2h05", "3d3h"]
    assert time_ticks(0, 3600, 5).labels[-1] == "1h00"


def test_bars_and_sparklines_have_their_width() -> None:
    for share in (None, 0.0, 0.37, 1.0, 7.0, math.nan):
        for marker in ("braille", "ascii"):
            assert width(bar(share, 10, marker)) == 10
    assert width(sparkline(np.array([1.0, math.nan, 3.0]), 8)) == 8
    assert sparkline(np.arange(8.0), 8) == "▁▂▃▄▅▆▇█"


@given(st.text(max_size=30), st.integers(0, 20))
def test_text_is_cut_and_padded_by_cells(text: str, size: int) -> None:
    from tui.lines import safe

    text = safe(text)
    assert width(clip(text, size)) <= size
    assert width(pad(text, size)) == size
    assert width(fit(line(text, ("more", "bold")), size)) == size


def test_marks_stand_on_the_curve() -> None:
    x = np.arange(100.0)
    chart = Chart("t", [Trace(x, x, "series0")], [Mark(50, "◆", "good")])
    rows = plain(draw(chart, 60, 22)).split("\n")[1:-1]
    row = next(index for index, text in enumerate(rows) if "◆" in text)
    column = rows[row].index("◆")
    assert 7 <= row <= 12
    assert 28 <= column <= 36
