"""The curves: how they are smoothed and scaled, what part of them is shown, and taking them along."""

from pathlib import Path

from tui.actions.shown import Shown
from tui.state import WEIGHTS, X_AXES


class Viewing(Shown):
    """The actions that change how curves are drawn."""

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
