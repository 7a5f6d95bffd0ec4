"""What the user looks at: the page, the runs chosen, how curves are drawn. No drawing, no Textual."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from tui.filters import BadFilter, RunFilter, look_up
from tui.library import Library
from tui.local import LocalDevices
from tui.plot.chart import XAxis
from tui.plot.raster import Marker
from tui.plot.smooth import Smoother
from tui.plot.spikes import SpikeFinder
from tui.watched import Watched

if TYPE_CHECKING:
    from tui.lineage import Lineage

Page = Literal["runs", "charts", "hardware", "lineage", "compare", "log"]
PAGES: tuple[Page, ...] = ("runs", "charts", "hardware", "lineage", "compare", "log")
TITLES: dict[Page, str] = {
    "runs": "Runs",
    "charts": "Charts",
    "hardware": "Hardware",
    "lineage": "Lineage",
    "compare": "Compare",
    "log": "Log",
}
WEIGHTS = (0.0, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
X_AXES: tuple[XAxis, ...] = ("step", "tokens", "relative", "wall")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
OVERLAID = 8
"""Runs in one chart where none was selected."""


@dataclass
class Desk:
    """The state of one dashboard."""

    library: Library
    page: Page = "runs"
    marker: Marker = "braille"
    readonly: bool = False
    slow_link: bool = False
    local: LocalDevices = field(init=False)

    note: str = ""
    """Said in the line above the keys, until the next key."""

    at: str = ""
    """Name of the run under the cursor."""
    top: int = 0
    """First row of the table that is shown."""
    selected: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    run_filter: RunFilter = field(default_factory=RunFilter)
    sort: str = ""
    """Key of the sort; empty for the order of names. A `-` before it turns it round."""

    weight: int = 3
    """Of smoothing, as an index into WEIGHTS."""
    log: bool = False
    outliers: bool = False
    """Whether outliers are cut off."""
    x_axis: XAxis = "step"
    x_range: tuple[float, float] | None = None
    full_range: tuple[float, float] | None = None
    """What the charts span without a zoom, as drawn last."""
    cursor: float | None = None
    follow: bool = True
    tag_filter: str = ""
    tag: str = ""
    """Name of the chart under the cursor."""
    alone: bool = False
    """Whether that chart has the whole screen."""
    pinned_tags: set[str] = field(default_factory=set)

    hardware_top: int = 0
    compare_top: int = 0
    log_filter: str = ""
    log_top: int | None = None
    """First line that is shown; None follows the end."""
    samples: bool = False
    """Whether the samples are shown where there is room for one pane only."""
    log_length: int = 0
    """Lines of the log that pass the filter, as drawn last."""
    sample_prompt: int = 0

    _smoothers: dict[tuple[str, str, float, int], Smoother] = field(default_factory=dict)
    _spikes: dict[tuple[str, str, int], SpikeFinder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.local = LocalDevices(str(self.library.root))

    @cached_property
    def lineage(self) -> "Lineage":
        """The tree of the runs; loaded when it is first looked at."""
        from tui.lineage import Lineage

        return Lineage(self.library)

    @property
    def host(self) -> dict[str, float]:
        """The counters of this machine, as sampled last; empty before."""
        return self.local.latest

    @property
    def smoothing(self) -> float:
        return WEIGHTS[self.weight]

    def runs(self) -> list[Watched]:
        """The runs that the filter lets through, pinned ones first, in the order of the sort."""
        found = [run for run in list(self.library.runs.values()) if self._passes(run)]
        key = self.sort.removeprefix("-")
        if key:
            found = _sorted(found, key, downwards=self.sort.startswith("-"))
        return sorted(found, key=lambda run: run.name not in self.pinned)

    def _passes(self, run: Watched) -> bool:
        try:
            return self.run_filter(run)
        except BadFilter:
            return True

    def current(self) -> Watched | None:
        """The run under the cursor."""
        run = self.library.runs.get(self.at)
        if run is not None:
            return run
        shown = self.runs()
        return shown[0] if shown else None

    def overlaid(self) -> list[Watched]:
        """The runs whose curves are drawn, the one under the cursor last, which puts it on top.

        The selected and pinned ones; where there is none, the one under the cursor and what stands beside it.
        """
        current = self.current()
        shown = self.runs()
        chosen = [run for run in shown if run.name in self.selected or run.name in self.pinned]
        if not chosen:
            chosen = (
                [run for run in shown if run is not current][: OVERLAID - 1] if len(shown) <= OVERLAID else []
            )
        return [run for run in chosen if run is not current] + ([current] if current else [])

    def move(self, rows: int) -> None:
        """Move the cursor in the table of runs."""
        names = [run.name for run in self.runs()]
        if names:
            place = names.index(self.at) if self.at in names else 0
            self.at = names[min(max(place + rows, 0), len(names) - 1)]

    def smoother(self, run: Watched, tag: str) -> Smoother:
        """The smoothed values of a series, kept from one drawing to the next."""
        # After a resume the curve is another: it begins with what was kept.
        key = run.name, tag, self.smoothing, run.amount(tag)[1]
        if key not in self._smoothers:
            if len(self._smoothers) > 400:
                self._smoothers.clear()
            self._smoothers[key] = Smoother(self.smoothing)
        return self._smoothers[key]

    def spikes(self, run: Watched, tag: str) -> SpikeFinder:
        """What finds the spikes of a series, likewise kept."""
        return self._spikes.setdefault((run.name, tag, run.amount(tag)[1]), SpikeFinder())

    def move_cursor(self, share: float) -> None:
        """Move the value cursor by a share of what is shown; it begins at the right."""
        shown = self.x_range or self.full_range
        if shown is None:
            return
        left, right = shown
        here = self.cursor if self.cursor is not None else right + 1e-9
        self.cursor = min(max(here + share * (right - left), left), right)

    def zoom(self, factor: float) -> None:
        """Show a part of what is shown, around the cursor or at the right end."""
        shown = self.x_range or self.full_range
        if shown is None:
            return
        left, right = shown
        centre = self.cursor if self.cursor is not None else right
        wide = (right - left) * factor
        full = self.full_range or shown
        if wide >= full[1] - full[0]:
            self.x_range = None
            return
        begin = centre - (centre - left) * factor
        self.x_range = begin, begin + wide
        self.follow = self.cursor is None and factor < 1

    def pan(self, share: float) -> None:
        """Move what is shown sideways."""
        if self.x_range is None:
            return
        left, right = self.x_range
        by = share * (right - left)
        self.x_range = left + by, right + by
        self.follow = False

    def letter(self, run: Watched) -> str:
        return LETTERS[run.number % len(LETTERS)]


def _sorted(runs: list[Watched], key: str, *, downwards: bool) -> list[Watched]:
    """By a value, those without one last either way."""
    valued = [(look_up(run, key), run) for run in runs]
    there = [(value, run) for value, run in valued if value is not None]
    try:
        there.sort(key=lambda pair: float(pair[0]), reverse=downwards)
    except (TypeError, ValueError):
        there.sort(key=lambda pair: str(pair[0]), reverse=downwards)
    return [run for _, run in there] + [run for value, run in valued if value is None]
