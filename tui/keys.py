"""Every key: what it is called in a keymap, what it does, and where it works."""

from dataclasses import dataclass

from tui.state import PAGES, TITLES, Page

CURVES: tuple[Page, ...] = ("runs", "charts")
FILTERED: tuple[Page, ...] = ("runs", "charts", "log")
TREE: tuple[Page, ...] = ("lineage",)


@dataclass(frozen=True)
class Key:
    """A binding. `id` names it in the keymap of the user's settings."""

    id: str
    keys: str
    """As Textual spells them, parted by commas."""
    action: str
    words: str
    """A word or two for the line of keys."""
    help: str
    pages: tuple[Page, ...] = PAGES
    shown: bool = False
    """Whether it stands in the line of keys."""
    writes: bool = False
    """Whether --readonly switches it off."""


KEYS: tuple[Key, ...] = (
    *(
        Key(f"page.{page}", str(index), f"page('{page}')", TITLES[page], f"Show {TITLES[page]}.")
        for index, page in enumerate(PAGES, 1)
    ),
    Key("page.next", "tab", "next_page", "next", "The next screen; on Log, the other pane."),
    Key("page.previous", "shift+tab", "previous_page", "back", "The screen before."),
    Key("move.up", "up,k", "move(-1)", "up", "Up by one."),
    Key("move.down", "down,j", "move(1)", "down", "Down by one."),
    Key("move.page_up", "pageup", "move_page(-1)", "page up", "Up by a screenful."),
    Key("move.page_down", "pagedown", "move_page(1)", "page down", "Down by a screenful."),
    Key("move.first", "home,g", "move(-1000000)", "first", "To the first."),
    Key("move.last", "end,G", "move(1000000)", "last", "To the last."),
    Key("open", "enter", "open", "open", "Open what is under the cursor.", shown=True),
    Key("back", "escape", "go_back", "back", "Back: out of a chart, a zoom, a filter."),
    Key("run.previous", "left_square_bracket", "other_run(-1)", "run", "The run before."),
    Key("run.next", "right_square_bracket", "other_run(1)", "next run", "The next run."),
    Key("select", "space", "select", "select", "Select for charts and Compare.", ("runs",), shown=True),
    Key("select.all", "a", "select_all", "all", "Select all runs shown, or none.", ("runs",)),
    Key("pin", "p", "pin", "pin", "Keep the run or chart on top.", CURVES, shown=True),
    Key("filter", "slash", "filter", "filter", "Show what matches.", FILTERED, shown=True),
    Key("lineage.verify", "c", "verify", "check", "Recompute its hashes.", TREE, shown=True),
    Key("lineage.export", "e", "export", "export", "For transformers.", TREE, shown=True, writes=True),
    Key("lineage.tune", "t", "tune", "fine-tune", "Start one from here.", TREE, shown=True, writes=True),
    Key("run.checkpoint", "K", "checkpoint", "save", "Ask for a checkpoint now.", shown=True, writes=True),
    Key("run.stop", "ctrl+d", "stop", "stop", "Ask the run to save and stop.", shown=True, writes=True),
    Key("run.resume", "R", "resume", "resume", "Go on with it, in the background.", shown=True, writes=True),
    Key("run.start", "n", "start", "new run", "Start a run from a spec, in the background.", writes=True),
    Key("sort", "v", "sort", "sort", "Sort by any column, metric or spec key.", ("runs",), shown=True),
    Key("sort.turn", "V", "sort_turn", "turn", "Turn the order round.", ("runs",)),
    Key("smooth.more", "s", "smooth(1)", "smooth", "Smooth the curves more.", CURVES, shown=True),
    Key("smooth.less", "S", "smooth(-1)", "less", "Smooth the curves less.", CURVES),
    Key("log_y", "y", "log_y", "log", "Logarithmic y axis.", CURVES, shown=True),
    Key("x_axis", "x", "x_axis", "x axis", "x by step, tokens, relative or wall time.", CURVES, shown=True),
    Key("outliers", "o", "outliers", "outliers", "Cut off outliers.", CURVES),
    Key("zoom.in", "z", "zoom(0.5)", "zoom", "Half as much, around the cursor or the end.", CURVES),
    Key("zoom.out", "Z", "zoom(2)", "out", "Show twice as much.", CURVES),
    Key("zoom.none", "0", "zoom_none", "all", "Show all, without a cursor.", CURVES),
    Key("pan.left", "left,h", "sideways(-1)", "left", "Move what is shown to the left.", (*CURVES, "log")),
    Key("pan.right", "right,l", "sideways(1)", "right", "Move what is shown to the right.", (*CURVES, "log")),
    Key("cursor.left", "comma", "cursor(-0.01)", "cursor", "Value cursor to the left.", CURVES),
    Key("cursor.right", "full_stop", "cursor(0.01)", "cursor", "Value cursor to the right.", CURVES),
    Key("cursor.far_left", "less_than_sign", "cursor(-0.1)", "cursor", "Cursor far to the left.", CURVES),
    Key("cursor.far_right", "greater_than_sign", "cursor(0.1)", "cursor", "Cursor far to the right.", CURVES),
    Key("follow", "f", "follow", "follow", "Follow what is new.", (*CURVES, "log"), shown=True),
    Key("csv", "w", "csv", "CSV", "Write the curves shown to a CSV file.", CURVES),
    Key("compare", "d", "compare", "compare", "Compare the selected runs.", ("runs", "lineage"), shown=True),
    Key("palette", "colon,ctrl+p", "command_palette", "palette", "Find a command by its name."),
    Key("help", "question_mark,f1", "help", "help", "This page.", shown=True),
    Key("quit", "q,ctrl+q,ctrl+c", "quit", "quit", "Leave; runs go on."),
)  # fmt: skip
BY_ACTION = {key.action: key for key in KEYS}
BY_NAME = {key.action.partition("(")[0]: key for key in KEYS}
_SIGNS = {
    "slash": "/",
    "question_mark": "?",
    "colon": ":",
    "comma": ",",
    "full_stop": ".",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "question_mark,f1": "?",
}


def spelled(keys: str) -> str:
    """Keys as people read them: `^d` for ctrl+d."""
    return " ".join(
        _SIGNS.get(key, key.replace("ctrl+", "^").replace("pageup", "PgUp").replace("pagedown", "PgDn"))
        for key in keys.split(",")
    )


def help_text(here: Page, keymap: dict[str, str], *, readonly: bool) -> str:
    """The keys in words, those of the present screen first."""
    lines = [
        "Keys can be changed in ~/.config/tk/dash.toml, under [keys],",
        "by the names on the right:",
        "",
    ]
    for title, keys in (
        (TITLES[here], [key for key in KEYS if here in key.pages and len(key.pages) < len(PAGES)]),
        ("Everywhere", [key for key in KEYS if len(key.pages) == len(PAGES)]),
        ("On other screens", [key for key in KEYS if here not in key.pages]),
    ):
        if not keys:
            continue
        lines.append(title)
        for key in keys:
            off = "  (off: --readonly)" if key.writes and readonly else ""
            where = f" ({', '.join(TITLES[page] for page in key.pages)})" if here not in key.pages else ""
            keyed = spelled(keymap.get(key.id, key.keys))
            lines.append(f" {keyed:<9} {key.help + where + off:<43} {key.id}")
        lines.append("")
    return "\n".join(lines)
