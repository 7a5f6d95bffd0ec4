"""`tk export`: a checkpoint as a folder for other software."""

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import Reference, Runs


def export(
    run: Reference,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.", show_default=False)],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of an earlier export.")
    ] = False,
    runs: Runs = None,
) -> None:
    """Write a model as a folder for transformers.

    `AutoModelForCausalLM` and `AutoTokenizer` open it; a model card is in it.

    \b
    Examples:
      tk export gpt_small my_model
      tk export gpt_small@best my_model --replace
    """
    from toolkit.cli.output import say
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.events import append_event
    from toolkit.store.runs import runs_root

    found, checkpoint = find_checkpoint(run, runs_root(runs))
    from toolkit.interop.export import export_checkpoint

    written = export_checkpoint(checkpoint, folder, replace=replace)
    append_event(found, "exported", checkpoint=checkpoint.id, path=str(folder.absolute()))
    say(f"{found} at step {checkpoint.step} is in {folder}:")
    for file in sorted(written.iterdir()):
        say(f"  {file.name}")
