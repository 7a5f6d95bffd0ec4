"""Choosing: which runs, metrics and lines are shown, and in which order."""

from tui.actions.shown import Shown
from tui.filters import BadFilter, RunFilter, look_up, match_names
from tui.state import Desk


class Choosing(Shown):
    """The actions that select, pin, filter and sort."""

    def action_select(self) -> None:
        if run := self.desk.current():
            self.desk.selected ^= {run.name}
            self.desk.at = run.name
        self.draw()

    def action_select_all(self) -> None:
        shown = {run.name for run in self.desk.runs()}
        self.desk.selected = set() if shown <= self.desk.selected else self.desk.selected | shown
        self.draw()

    def action_pin(self) -> None:
        desk = self.desk
        if desk.page == "charts":
            desk.pinned_tags ^= {desk.tag}
        elif run := desk.current():
            desk.at = run.name
            desk.pinned ^= {run.name}
        self.draw()

    def action_filter(self) -> None:
        """Filters work as they are typed, once they can be understood."""
        desk = self.desk
        hint = "regex, !regex; all must hold"
        match desk.page:
            case "runs":
                more = "regex, !regex, val/loss<2, spec.model.n_layers>=6, state=running; all must hold"
                self.ask("filter runs", desk.run_filter.text, more, self._filter_runs, live=True)
            case "charts":
                self.ask("filter metrics", desk.tag_filter, hint, self._filter_tags, live=True)
            case "log":
                self.ask("filter lines", desk.log_filter, hint, self._filter_log, live=True)

    def action_sort(self) -> None:
        from tui.pages.runs import SORTS

        known = dict.fromkeys(SORTS.values())
        for run in self.desk.library.runs.values():
            known.update(dict.fromkeys(run.tags))
        known.update(dict.fromkeys(_spec_keys(self.desk)))
        options = [*known, *(f"-{name}" for name in known)]
        hint = "a column, a metric or spec.KEY; - before it turns it round; empty for names"

        def sort(text: str) -> None:
            self.desk.sort = text.strip()
            key = self.desk.sort.removeprefix("-")
            runs = self.desk.library.runs.values()
            if key and runs and all(look_up(run, key) is None for run in runs):
                self.say(f"no run has {key!r}: they stand by name")
            self.draw()

        self.ask("sort by", self.desk.sort, hint, sort, options)

    def action_sort_turn(self) -> None:
        sort = self.desk.sort or "name"
        self.desk.sort = sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"
        self.draw()

    def _filter_runs(self, text: str) -> None:
        try:
            self.desk.run_filter = RunFilter(text)
            self.desk.note = ""
        except BadFilter as error:
            self.desk.note = str(error)
        self.draw()

    def _filter_tags(self, text: str) -> None:
        if self._understood(text):
            self.desk.tag_filter = text
        self.draw()

    def _filter_log(self, text: str) -> None:
        if self._understood(text):
            self.desk.log_filter, self.desk.log_top = text, None
        self.draw()

    def _understood(self, text: str) -> bool:
        try:
            match_names(text, [])
        except BadFilter as error:
            self.desk.note = str(error)
            return False
        self.desk.note = ""
        return True


def _spec_keys(desk: Desk) -> list[str]:
    found: dict[str, None] = {}

    def walk(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}")
        elif not isinstance(value, list):
            found[name] = None

    for run in list(desk.library.runs.values())[:50]:
        walk(dict(run.spec), "spec")
    return list(found)
