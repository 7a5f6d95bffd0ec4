"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _complete_run(incomplete: str) -> list[str]:
    from toolkit.store.runs import find_runs, runs_root

    return [str(run) for run in find_runs(runs_root()) if str(run).startswith(incomplete)]


Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec: a TOML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Values that replace the spec's.", show_default=False),
]
OneStage = Annotated[
    str | None,
    typer.Option("--stage", metavar="NAME", help="One stage, and what it needs. Default: all of them."),
]
Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="FOLDER", help="The runs folder. Default: TK_RUNS, else ./runs."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="NAME/STAGE; the stage is pretrain by default.", autocompletion=_complete_run
    ),
]
Reference = Annotated[
    str,
    typer.Argument(
        metavar="RUN[@CHECKPOINT]",
        help="A run and its checkpoint: @last (default), @best, @step_500 or @ID.",
        autocompletion=_complete_run,
    ),
]
