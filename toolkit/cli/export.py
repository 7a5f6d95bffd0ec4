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
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Of a LoRA run: its updates alone, as peft opens them.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="With --adapter: the base's folder, written if it isn't there, or hf:NAME. Default: what it was "
            "imported from.",
        ),
    ] = None,
    runs: Runs = None,
) -> None:
    """Write a model for transformers, or an adapter for peft.

    `AutoTokenizer` opens it, and `AutoModelForCausalLM`; what classifies or gives a number,
    `AutoModelForSequenceClassification`; tags `AutoModelForTokenClassification`, images
    `AutoModelForImageClassification`. LoRA updates are merged, unless --adapter asks for them alone. A model card
    is in it.

    \b
    Examples:
      tk export gpt_small my_model
      tk export gpt_small@best my_model --replace
      tk export small/low my_adapter --adapter --base my_base
    """
    from toolkit.cli.output import say
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.events import append_event
    from toolkit.store.runs import runs_root

    found, checkpoint = find_checkpoint(run, runs_root(runs))
    from toolkit.interop.export import export_checkpoint

    written = export_checkpoint(checkpoint, folder, replace=replace, adapter=adapter, base=base)
    append_event(found, "exported", checkpoint=checkpoint.id, path=str(folder.absolute()))
    say(f"{found} at step {checkpoint.step} is in {folder}:")
    for file in sorted(written.folder.iterdir()):
        say(f"  {file.name}")
    if written.base is not None:
        say(f"its base is in {written.base}")
    for note in written.notes:
        say(f"note: {note}")
