"""Moving about: from screen to screen, from row to row, into a chart and out of it; by key and by mouse."""

from tui.actions.shown import Shown
from tui.filters import RunFilter
from tui.pages.charts import grid, tags_of
from tui.state import PAGES, Page


class Moving(Shown):
    """The actions that change what is looked at."""

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
                desk.lineage.at = max(0, desk.lineage.at + by)
            case "compare":
                desk.compare_top = max(0, desk.compare_top + by)
            case "log":
                from tui.pages.log import scroll_log

                scroll_log(desk, by, self.page_rows)
        self.draw()

    def action_move_page(self, screens: int) -> None:
        height = max(self.canvas.size.height - 6, 1)
        if self.desk.page == "charts":
            across, down = self._grid()
            self._move_tag(screens * across * down)
            self.draw()
        elif self.desk.page == "hardware":
            self.desk.hardware_top = max(0, self.desk.hardware_top + screens * height)
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
                row = desk.lineage.current
                if row and row.folded:
                    desk.lineage.unfold(row)
                elif row and row.run:
                    desk.at, desk.page = row.run.name, "charts"
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

    def press(self, row: int, column: int, *, twice: bool) -> None:
        """A click on the page, counted from its first row."""
        desk = self.desk
        match desk.page:
            case "runs":
                runs = desk.runs()
                place = desk.top + row - 1
                if row > 0 and place < len(runs):
                    desk.at = runs[place].name
                    if column < 2:
                        desk.selected ^= {desk.at}
                    elif twice:
                        self.action_open()
            case "charts":
                self._press_chart(row, column, twice=twice)
            case "lineage":
                from tui.pages.lineage import row_at

                if (found := row_at(desk, row)) is not None:
                    desk.lineage.at = found

    def _press_chart(self, row: int, column: int, *, twice: bool) -> None:
        desk = self.desk
        across, down = self._grid()
        tags = tags_of(desk)
        if desk.alone or desk.tag not in tags:
            return
        each = across * down
        height = max(self.page_rows // down, 1)
        wide = max(self.canvas.size.width // across, 1)
        place = tags.index(desk.tag) // each * each
        place += min(row // height, down - 1) * across + min(column // wide, across - 1)
        if place < len(tags):
            desk.tag = tags[place]
            desk.alone = desk.alone or twice

    def _grid(self) -> tuple[int, int]:
        return grid(self.canvas.size.width, self.page_rows)

    def _move_tag(self, by: int) -> None:
        tags = tags_of(self.desk)
        if tags:
            place = tags.index(self.desk.tag) if self.desk.tag in tags else 0
            self.desk.tag = tags[min(max(place + by, 0), len(tags) - 1)]
