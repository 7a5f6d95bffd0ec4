"""`tk dash` and `tk board`: runs in a terminal, and in TensorBoard."""

from pathlib import Path
from typing import Annotated

import typer

EVERY_POINT = 10**9
"""More points than a curve has."""
Where = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A runs folder, a run, or any folder with event files. Default: TK_RUNS, else ./runs.",
        show_default=False,
    ),
]


def dash(
    path: Where = None,
    once: Annotated[bool, typer.Option("--once", help="Print one screen as text, and end.")] = False,
    screen: Annotated[
        str, typer.Option(metavar="NAME", help="runs, charts, hardware, lineage, compare or log.")
    ] = "runs",
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Put the cursor on this run.")] = None,
    filter_: Annotated[
        str, typer.Option("--filter", metavar="TERMS", help="Runs to show, such as 'val/loss<2'.")
    ] = "",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="TERMS", help="Metrics to chart, such as 'loss !system'.")
    ] = "",
    sort: Annotated[
        str, typer.Option(metavar="KEY", help="A metric, column or spec key; -KEY turns it round.")
    ] = "",
    readonly: Annotated[bool, typer.Option("--readonly", help="Ask nothing of runs, start none.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve it to a browser on this machine.")] = False,
    port: Annotated[int, typer.Option(metavar="PORT", help="For --web.")] = 8000,
    mouse: Annotated[bool, typer.Option("--mouse/--no-mouse", help="Whether to use the mouse.")] = True,
    marker: Annotated[
        str | None, typer.Option(metavar="NAME", help="Draw with braille, block or ascii characters.")
    ] = None,
    theme: Annotated[
        str | None, typer.Option(metavar="NAME", help="A theme of Textual; default: the terminal's colours.")
    ] = None,
) -> None:
    """Watch runs live in the terminal.

    What runs, is it healthy, when is it done; curves, GPUs, lineage, differences, logs. ? lists the keys.
    Opens any folder of TensorBoard event files, too. Where the output is no terminal it prints one screen.

    \b
    Examples:
      tk dash
      tk dash ~/logs/lightning_logs --readonly
      tk dash --once --screen charts --run gpt_small
      tk dash --web       then: ssh -L 8000:localhost:8000 HOST
    """
    from toolkit.cli.errors import BadInput
    from toolkit.store.runs import runs_root
    from tui.launch import BadOption, Options, launch

    options = Options(
        root=path or runs_root(),
        once=once,
        page=screen,
        run=run,
        filter=filter_,
        metrics=metrics,
        sort=sort,
        readonly=readonly,
        web=web,
        port=port,
        mouse=mouse,
        marker=marker,
        theme=theme,
    )
    try:
        status = launch(options)
    except BadOption as error:
        raise BadInput(str(error)) from error
    raise typer.Exit(status)


def board(
    path: Where = None,
    port: Annotated[int, typer.Option(metavar="PORT", help="0 takes a free one.")] = 6006,
) -> None:
    """Open the runs in TensorBoard, every point shown.

    It listens on this machine only and has no login: reach it from elsewhere through ssh -L.

    \b
    Example:
      tk board       then: ssh -L 6006:localhost:6006 HOST
    """
    import os
    import sys

    from toolkit.cli.errors import BadInput
    from toolkit.store.runs import runs_root

    root = path or runs_root()
    if not root.is_dir():
        raise BadInput(f"{root} is no folder. `tk run SPEC` makes one with a run in it.")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--host", "127.0.0.1"]
    # By default TensorBoard shows a random 1,000 points of each curve. 0, which its help says keeps all of them,
    # keeps them when it reads the files and then serves none.
    command += ["--port", str(port), "--samples_per_plugin", f"scalars={EVERY_POINT},text=100"]
    sys.stdout.flush()
    os.execv(sys.executable, command)
