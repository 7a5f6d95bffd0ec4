"""What each key does to the desk and to the runs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui import act
from tui.filters import BadFilter, RunFilter, match_names
from tui.keys import KEYS, spelled
from tui.lines import safe
from tui.pages.charts import grid, tags_of
from tui.pages.frame import ROWS
from tui.state import PAGES, TITLES, WEIGHTS, X_AXES, Desk, Page

if TYPE_CHECKING:
    from textual.app import App

    from toolkit.store.requests import Kind
    from tui.canvas import Canvas
    from tui.library import Watcher

    Base = App[int]
else:
    Base = object

ANSWER_SECONDS = 60.0
"""How long a request is watched for its acknowledgement."""


class Actions(Base):
    """The actions of the dashboard."""

    desk: Desk
    canvas: "Canvas"
    watcher: "Watcher"
    user_keymap: dict[str, str]

    def draw(self) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Say something in the last line, until the next key."""
        self.desk.note = text
        self.draw()

    # Moving about

    def action_page(self, page: Page) -> None:
        self.desk.page, self.desk.note = page, ""
        self.watcher.look_now()
        self.draw()

    def action_next_page(self) -> None:
        if self.desk.page == "log":
            self.desk.samples = not self.desk.samples
            self.draw()
        else:
            self.action_page(PAGES[(PAGES.index(self.desk.page) + 1) % len(PAGES)])

    def action_previous_page(self) -> None:
        self.action_page(PAGES[PAGES.index(self.desk.page) - 1])

    def action_move(self, by: int) -> None:
        desk, desk.note = self.desk, ""
        match desk.page:
            case "runs" | "hardware":
                desk.move(by)
            case "charts":
                self._move_tag(by if desk.alone else by * self._grid()[0] if abs(by) == 1 else by)
            case "lineage":
                desk.lineage_at = max(0, desk.lineage_at + by)
            case "compare":
                desk.compare_top = max(0, desk.compare_top + by)
            case "log":
                self._scroll_log(by)
        self.draw()

    def action_move_page(self, screens: int) -> None:
        height = max(self.canvas.size.height - 6, 1)
        if self.desk.page == "charts":
            across, down = self._grid()
            self._move_tag(screens * across * down)
            self.draw()
        else:
            self.action_move(screens * height)

    def action_sideways(self, by: int) -> None:
        desk = self.desk
        if desk.page == "log":
            desk.sample_prompt = max(0, desk.sample_prompt + by)
        elif desk.page == "charts" and desk.x_range is None and not desk.alone:
            self._move_tag(by)
        else:
            desk.pan(by * 0.2)
        self.draw()

    def action_other_run(self, by: int) -> None:
        self.desk.move(by)
        self.desk.log_top = None
        self.draw()

    def action_open(self) -> None:
        desk = self.desk
        match desk.page:
            case "runs" | "hardware" | "compare":
                current = desk.current()
                desk.at = current.name if current else desk.at
                desk.page = "charts"
            case "charts":
                desk.alone = not desk.alone
            case "lineage":
                if node := self._node():
                    desk.at, desk.page = node.run.name, "charts"
            case "log":
                desk.samples = not desk.samples
        self.draw()

    def action_go_back(self) -> None:
        desk = self.desk
        if desk.note:
            desk.note = ""
        elif desk.page == "charts" and desk.alone:
            desk.alone = False
        elif desk.cursor is not None or desk.x_range:
            desk.cursor = desk.x_range = None
        elif desk.page == "charts" and desk.tag_filter:
            desk.tag_filter = ""
        elif desk.page == "log" and (desk.log_filter or desk.log_top is not None):
            desk.log_filter, desk.log_top = "", None
        elif desk.page == "runs":
            desk.run_filter = RunFilter()
        else:
            desk.page = "runs"
        self.draw()

    def _grid(self) -> tuple[int, int]:
        return grid(self.canvas.size.width, self.canvas.size.height - ROWS - 1)

    def _move_tag(self, by: int) -> None:
        tags = tags_of(self.desk)
        if tags:
            place = tags.index(self.desk.tag) if self.desk.tag in tags else 0
            self.desk.tag = tags[min(max(place + by, 0), len(tags) - 1)]

    def _scroll_log(self, by: int) -> None:
        from tui.pages.log import scroll_log

        scroll_log(self.desk, by, max(self.canvas.size.height - ROWS - 1, 1))

    def press(self, row: int, column: int, *, twice: bool) -> None:
        """A click on the page, counted from its first row."""
        desk = self.desk
        if desk.page == "runs":
            runs = desk.runs()
            place = desk.top + row - 1
            if row > 0 and place < len(runs):
                desk.at = runs[place].name
                if column < 2:
                    self.action_select()
                elif twice:
                    self.action_open()
        elif desk.page == "charts":
            across, down = self._grid()
            tags = tags_of(desk)
            if desk.alone or desk.tag not in tags:
                return
            each = across * down
            height = max((self.canvas.size.height - ROWS - 1) // down, 1)
            wide = max(self.canvas.size.width // across, 1)
            place = tags.index(desk.tag) // each * each
            place += min(row // height, down - 1) * across + min(column // wide, across - 1)
            if place < len(tags):
                desk.tag = tags[place]
                desk.alone = desk.alone or twice
        elif desk.page == "lineage":
            from tui.pages.lineage import row_at

            if (found := row_at(desk, row)) is not None:
                desk.lineage_at = found

    # Choosing

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

    def action_compare(self) -> None:
        self.action_page("compare")

    def action_filter(self) -> None:
        desk = self.desk
        match desk.page:
            case "runs":
                hint = "regex, !regex, val/loss<2, spec.model.n_layers>=6, state=running; all must hold"
                self._ask("filter runs", desk.run_filter.text, hint, self._filter_runs)
            case "charts":
                self._ask(
                    "filter metrics", desk.tag_filter, "regex, !regex; all must hold", self._filter_tags
                )
            case "log":
                self._ask("filter lines", desk.log_filter, "regex, !regex; all must hold", self._filter_log)

    def typed(self, text: str) -> None:
        """Filters work as they are typed, once they can be understood."""
        if self._live:
            self._live(text)

    _live: Any = None

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
            self.draw()

        self._ask("sort by", self.desk.sort, hint, sort, options, live=False)

    def action_sort_turn(self) -> None:
        sort = self.desk.sort or "name"
        self.desk.sort = sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"
        self.draw()

    def _ask(
        self,
        question: str,
        text: str,
        hint: str,
        take: Any,
        known: list[str] | None = None,
        live: bool = True,
    ) -> None:
        from tui.dialogs import Ask

        self._live = take if live else None

        def answered(answer: str | None) -> None:
            self._live = None
            if answer is not None:
                take(answer)
            elif live:
                take(text)

        self.push_screen(Ask(question, text, known or [], hint), answered)

    # Curves

    def action_smooth(self, by: int) -> None:
        self.desk.weight = min(max(self.desk.weight + by, 0), len(WEIGHTS) - 1)
        self.say(f"smoothing {self.desk.smoothing:g}")

    def action_log_y(self) -> None:
        self.desk.log = not self.desk.log
        self.draw()

    def action_x_axis(self) -> None:
        desk = self.desk
        desk.x_axis = X_AXES[(X_AXES.index(desk.x_axis) + 1) % len(X_AXES)]
        desk.x_range = desk.cursor = desk.full_range = None
        self.say(f"x axis: {desk.x_axis}")

    def action_outliers(self) -> None:
        self.desk.outliers = not self.desk.outliers
        self.say("outliers cut off" if self.desk.outliers else "outliers shown")

    def action_zoom(self, factor: float) -> None:
        self.desk.zoom(factor)
        self.draw()

    def action_zoom_none(self) -> None:
        self.desk.x_range = self.desk.cursor = None
        self.desk.follow = True
        self.draw()

    def action_cursor(self, share: float) -> None:
        self.desk.move_cursor(share)
        self.draw()

    def action_follow(self) -> None:
        desk = self.desk
        if desk.page == "log":
            desk.log_top = None if desk.log_top is not None else max(desk.log_length - 1, 0)
            self.say("following" if desk.log_top is None else "not following")
        else:
            desk.follow = not desk.follow
            self.say("following" if desk.follow else "not following")

    def action_csv(self) -> None:
        from tui.export import write_csv

        desk = self.desk
        tags = [desk.tag] if desk.page == "charts" and desk.alone else None
        try:
            path, points = write_csv(desk, tags, Path.cwd())
        except OSError as error:
            self.say(f"no CSV: {error}")
            return
        self.say(f"{points:,} points are in {path.name}")

    # Acting

    _asked: dict[str, tuple["Kind", float]]
    _commands: list[act.Command]

    def action_checkpoint(self) -> None:
        self._request("checkpoint")

    def action_stop(self) -> None:
        from tui.dialogs import Sure

        run = self.desk.current()
        if run is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._request("stop")
            else:
                self.say("nothing was asked")

        self.push_screen(
            Sure(f"Stop {safe(run.name)}? It saves its work first; R goes on with it later."), answered
        )

    def _request(self, kind: "Kind") -> None:
        run = self.desk.current()
        if run is None:
            return
        try:
            text = act.request(run, kind)
        except act.NotPossible as error:
            self.say(str(error))
            return
        self._waiting()[run.name] = kind, time.time()
        self.set_timer(1.0, self._poll_commands)
        self.say(text)

    def _waiting(self) -> dict[str, tuple["Kind", float]]:
        if not hasattr(self, "_asked"):
            self._asked = {}
        return self._asked

    def action_resume(self) -> None:
        run = self.desk.current()
        if run is None:
            return
        self._start(lambda: act.resume(run), f"{run.name} goes on in the background")

    def action_start(self) -> None:
        self._ask_command("start a run", "SPEC [KEY=VALUE …] [--as NAME]", ["run"], _specs())

    def action_tune(self) -> None:
        if node := self._node():
            parent = f"parent={node.reference}"
            hint = f"SPEC [--stage NAME] [KEY=VALUE …]; {parent} is added unless --stage is given"
            self._ask_command("fine-tune by the spec", hint, ["run"], _specs(), parent)

    def action_export(self) -> None:
        if node := self._node():
            root = str(self.desk.library.root)
            words = ["export", node.reference, "--runs", root]
            self._ask_command(f"export {node.reference} to the new folder", "FOLDER", words, [])

    def action_verify(self) -> None:
        from tui.pages.lineage import verify

        node = self._node()
        if node is None or node.checkpoint is None:
            self.say("put the cursor on a checkpoint")
            return
        self.say(f"reading {node.reference} …")

        def work() -> None:
            said = verify(self.desk, node)
            self.call_from_thread(self.say, said)

        self.run_worker(work, thread=True)

    def _node(self) -> Any:
        from tui.pages.lineage import node_at

        return node_at(self.desk)

    def _ask_command(
        self, question: str, hint: str, words: list[str], known: list[str], parent: str = ""
    ) -> None:
        import shlex

        def take(text: str) -> None:
            try:
                typed = shlex.split(text)
            except ValueError as error:
                self.say(f"not understood: {error}")
                return
            if not typed:
                return
            more = [parent] if parent and "--stage" not in typed else []
            runs = [] if "--runs" in words else ["--runs", str(self.desk.library.root)]
            self._start(
                lambda: act.start(self.desk.library.root, [*words, *typed, *more, *runs]),
                f"`tk {words[0]} {' '.join(typed)}` runs in the background",
            )

        self._ask(question, "", hint, take, known, live=False)

    def _start(self, begin: Any, text: str) -> None:
        try:
            command = begin()
        except act.NotPossible as error:
            self.say(str(error))
            return
        if not hasattr(self, "_commands"):
            self._commands = []
        self._commands.append(command)
        self.set_timer(1.0, self._poll_commands)
        self.say(text)

    def _poll_commands(self) -> None:
        """Look after commands and requests, as long as there are any: they may end without a word."""
        before = self.desk.note
        self._check_commands()
        if self.desk.note != before:
            self.draw()
        if getattr(self, "_commands", None) or self._waiting():
            self.set_timer(1.0, self._poll_commands)

    def _check_commands(self) -> None:
        """Tell of commands that ended, and of requests that were taken up."""
        for command in list(getattr(self, "_commands", [])):
            if command.status is not None:
                self._commands.remove(command)
                end = "is done" if command.status == 0 else f"ended with status {command.status}"
                self.desk.note = f"tk {command.words[0]} {end}: {command.last_words()}"
        for name, (kind, since) in list(self._waiting().items()):
            run = self.desk.library.runs.get(name)
            if run is not None and act.acknowledged(run, kind, since):
                del self._waiting()[name]
                self.desk.note = f"{name} took up the request to {'save' if kind == 'checkpoint' else 'stop'}"
            elif time.time() - since > ANSWER_SECONDS:
                del self._waiting()[name]
                self.desk.note = f"{name} has not answered the request to {kind}"

    def action_help(self) -> None:
        from tui.dialogs import Help

        self.push_screen(Help(help_text(self.desk, self.user_keymap)))


def help_text(desk: Desk, keymap: dict[str, str]) -> str:
    """The keys in words, those of the present screen first."""
    here = [key for key in KEYS if desk.page in key.pages and len(key.pages) < len(PAGES)]
    everywhere = [key for key in KEYS if len(key.pages) == len(PAGES)]
    elsewhere = [key for key in KEYS if desk.page not in key.pages]
    lines = [
        "Keys can be changed in ~/.config/tk/dash.toml, under [keys],",
        "by the names on the right:",
        "",
    ]
    for title, keys in (
        (TITLES[desk.page], here),
        ("Everywhere", everywhere),
        ("On other screens", elsewhere),
    ):
        if not keys:
            continue
        lines.append(title)
        for key in keys:
            off = "  (off: --readonly)" if key.writes and desk.readonly else ""
            where = f" ({', '.join(TITLES[page] for page in key.pages)})" if keys is elsewhere else ""
            keyed = spelled(keymap.get(key.id, key.keys))
            lines.append(f" {keyed:<9} {key.help + where + off:<43} {key.id}")
        lines.append("")
    return "\n".join(lines)


def _specs() -> list[str]:
    """Specs near by, for completion."""
    return sorted(str(path) for path in [*Path().glob("*.toml"), *Path().glob("specs/*.toml")])


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
