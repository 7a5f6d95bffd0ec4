"""From options to a dashboard: in the terminal, as text, or served to a browser."""

import gc
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from toolkit.store.text import sanitize
from tui.filters import BadFilter, RunFilter, match_names
from tui.plot.raster import Marker

if TYPE_CHECKING:
    from tui.state import Desk, Page

ENVIRONMENT = {
    # One tick a second needs no animations and few frames, and colours of the terminal take fewer bytes.
    "TEXTUAL_ANIMATIONS": "none",
    "TEXTUAL_FPS": "15",
    "TEXTUAL_SMOOTH_SCROLL": "0",
    "TEXTUAL_THEME": "ansi-dark",
}
TEXT_SIZE = 100, 40
"""Columns and rows of a screen that is printed where there is no terminal to ask."""
COLLECT = 20_000, 10, 50
"""How seldom Python looks for garbage."""
LOOPBACK = "127.0.0.1"


class BadOption(Exception):  # noqa: N818 - as the other errors that name what was given
    """An option that can't be followed, and what is allowed."""


@dataclass(frozen=True)
class Options:
    """What the user asked for on the command line."""

    root: Path
    once: bool = False
    page: str = "runs"
    run: str | None = None
    filter: str = ""
    metrics: str = ""
    sort: str = ""
    readonly: bool = False
    web: bool = False
    port: int = 8000
    mouse: bool = True
    marker: str | None = None
    theme: str | None = None


def launch(options: Options) -> int:
    """Show the dashboard; the exit status. Raises BadOption."""
    _check(options)
    if options.web:
        return _serve(options)
    if options.once or not _interactive():
        return _print(options)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if options.theme:
        os.environ["TEXTUAL_THEME"] = options.theme
    keymap = read_keymap(_settings())
    from textual.theme import BUILTIN_THEMES

    if options.theme and options.theme not in BUILTIN_THEMES:
        raise BadOption(f"--theme: there is no {options.theme!r}. There are: {', '.join(BUILTIN_THEMES)}.")
    from tui.app import DashApp

    # Nothing that was loaded is ever garbage: looking for it there again and again takes a tenth of the work.
    gc.freeze()
    gc.set_threshold(*COLLECT)
    app = DashApp(_desk(options), keymap)
    app.run(mouse=options.mouse)
    return app.return_code or app.return_value or 0


def read_keymap(path: Path) -> dict[str, str]:
    """The user's keys by binding, from the table [keys] of a TOML file. Raises BadOption."""
    from tui.keys import KEYS

    try:
        table = tomllib.loads(path.read_text()).get("keys", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadOption(f"{path}: {error}") from error
    known = {key.id for key in KEYS}
    for name, keys in table.items() if isinstance(table, dict) else [("keys", None)]:
        if name not in known or not isinstance(keys, str):
            raise BadOption(f'{path}: keys."{name}" is no binding. `?` in the dashboard lists them.')
    return cast(dict[str, str], table)


def _settings() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "tk" / "dash.toml"


def _check(options: Options) -> None:
    from tui.state import PAGES

    if options.page not in PAGES:
        raise BadOption(f"--screen: there is no {options.page!r}. There are: {', '.join(PAGES)}.")
    if options.marker is not None and options.marker not in get_args(Marker):
        raise BadOption(
            f"--marker: there is no {options.marker!r}. There are: {', '.join(get_args(Marker))}."
        )
    if not options.root.is_dir():
        given = sanitize(str(options.root))
        raise BadOption(f"{given} is no folder. `tk run SPEC` makes runs/; `tk dash PATH` opens any other.")
    for name, text, understand in (
        ("filter", options.filter, RunFilter),
        ("metrics", options.metrics, lambda text: match_names(text, [])),
    ):
        try:
            understand(text)
        except BadFilter as error:
            raise BadOption(f"--{name}: {error}") from error


def _interactive() -> bool:
    if os.environ.get("TEXTUAL_DRIVER"):  # textual-serve's end of a pipe
        return True
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _marker(options: Options) -> Marker:
    if options.marker:
        return cast(Marker, options.marker)
    if os.environ.get("TEXTUAL_DRIVER"):
        return "braille"
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    if encoding != "utf8" or os.environ.get("TERM") == "linux":
        return "ascii" if encoding != "utf8" else "block"
    return "braille"


def _desk(options: Options) -> "Desk":
    from tui.library import Library
    from tui.state import Desk

    desk = Desk(
        Library(options.root),
        page=cast("Page", options.page),
        marker=_marker(options),
        readonly=options.readonly,
        run_filter=RunFilter(options.filter),
        tag_filter=options.metrics,
        sort=options.sort,
    )
    if options.run is not None:
        # `gpt_small` is short for `gpt_small/pretrain`, as elsewhere.
        desk.at = options.run if "/" in options.run else f"{options.run}/pretrain"
    return desk


def _print(options: Options) -> int:
    """One screen as text, in colour where the output is a terminal."""
    import shutil

    from tui.compose import compose
    from tui.lines import plain
    from tui.styles import escape

    desk = _desk(options)
    desk.library.list()
    desk.library.queue.ask(desk.library.folders)
    desk.library.list()
    desk.library.read()
    if options.run is not None and desk.at not in desk.library.runs:
        if options.run not in desk.library.runs:
            known = ", ".join(list(desk.library.runs)[:8]) or "none"
            raise BadOption(f"--run: there is no {options.run} in {options.root}. There are: {known}.")
        desk.at = options.run
    if options.page == "hardware":
        import time

        desk.local.sample()
        time.sleep(0.2)  # rates need two looks
        desk.local.sample(at_once=True)
    size = shutil.get_terminal_size(TEXT_SIZE)
    lines = compose(desk, size.columns, size.lines - 1)
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        print(plain(lines))
        return 0
    colour = not os.environ.get("NO_COLOR")
    for spans in lines:
        print("".join(f"{escape(style, colour=colour)}{text}\x1b[0m" for text, style in spans))
    return 0


def _serve(options: Options) -> int:
    """The same app in a browser, one process a tab, on this machine only."""
    import shlex

    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise BadOption('--web needs textual-serve: pip install "tk-pretrain[web]"') from error
    words = [sys.executable, "-m", "toolkit", "dash", str(options.root), "--screen", options.page]
    words += ["--readonly"] * options.readonly
    for name in ("filter", "metrics", "sort", "run", "theme"):
        if value := getattr(options, name):
            words += [f"--{name}", value]
    print(
        f"http://localhost:{options.port} shows the dashboard. It has no login: whoever reaches this port of "
        "this machine can use it"
        + ("." if options.readonly else ", and stop runs; --readonly switches that off.")
        + f"\nFrom elsewhere: ssh -L {options.port}:localhost:{options.port} HOST"
    )
    server = Server(shlex.join(words), host=LOOPBACK, port=options.port, title="tk dash")
    server.serve()
    return 0
