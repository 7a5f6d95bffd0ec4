"""`tk rm`: put runs out of the way, bring one back, or free their space."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Runs, _complete_run

if TYPE_CHECKING:
    from pathlib import Path

    from toolkit.store.runs import RunFolder


def rm(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...", help="NAME/STAGE, or NAME/* for all of a name.", autocompletion=_complete_run
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Bring back the last one removed.")] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="Delete for good what was removed or replaced.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    runs: Runs = None,
) -> None:
    """Remove runs. They are set aside, and --undo brings them back until --empty frees their space.

    A run that is being written is refused. Where other runs came from one, it is asked first: they keep their own
    weights, but LoRA and head fine-tunes need their parent's.

    \b
    Examples:
      tk rm gpt_small/coder
      tk rm 'gpt_small.transfer/*'
      tk rm gpt_small/coder --undo
      tk rm --empty
    """
    from toolkit.cli.errors import BadInput
    from toolkit.store.runs import runs_root

    root = runs_root(runs)
    if empty and (wanted or undo):
        raise BadInput("--empty deletes everything that was set aside: it takes no RUN and no --undo")
    if empty:
        _empty(root, yes)
    elif not wanted:
        raise BadInput("name a RUN; `tk ls` lists them")
    elif undo:
        _undo(root, wanted)
    else:
        _remove([run for text in wanted for run in _named(root, text)], yes)


def _named(root: "Path", text: str) -> "list[RunFolder]":
    from toolkit.cli.errors import BadInput
    from toolkit.store.runs import find_runs, open_run

    if not text.endswith("/*"):
        return [open_run(root, text)]
    found = [run for run in find_runs(root) if run.name == text[:-2]]
    if not found:
        raise BadInput(f"no run is named {text}; `tk ls` lists them")
    return found


def _remove(wanted: "list[RunFolder]", yes: bool) -> None:
    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import say
    from toolkit.store.children import children
    from toolkit.store.lease import hold
    from toolkit.store.runs import set_aside

    going = {str(run) for run in wanted}
    for run in wanted:
        kept = sorted({str(child.run) for child in children(run)} - going)
        if not kept or yes:
            continue
        names = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        text = f"{names} came from {run}"
        if not sys.stdin.isatty():
            raise BadInput(f"{text}. Add --yes to remove it all the same.")
        typer.confirm(f"{text}. Remove it?", abort=True)
    for run in dict.fromkeys(wanted):
        with hold(run):
            set_aside(run, "removed")
        say(f"{run} is removed; `tk rm {run} --undo` brings it back.")
    if wanted:
        say("`tk rm --empty` frees the space.")


def _undo(root: "Path", wanted: list[str]) -> None:
    from toolkit.cli.output import say
    from toolkit.store.runs import bring_back, parse_reference

    for text in wanted:
        run, _ = parse_reference(text, root)
        bring_back(run)
        say(f"{run} is back.")


def _empty(root: "Path", yes: bool) -> None:
    import shutil

    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import say
    from toolkit.plan.figures import size
    from toolkit.store.runs import find_aside

    found = find_aside(root)
    if not found:
        say("Nothing was removed or replaced.")
        return
    total = sum(path.lstat().st_size for folder in found for path in folder.rglob("*") if path.is_file())
    for folder in found:
        say(f"{folder.parent.name}/{folder.name}")
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("Add --yes to delete these for good.")
        typer.confirm(f"Delete these {len(found)} for good ({size(total)})?", abort=True)
    for folder in found:
        shutil.rmtree(folder)
    say(f"{size(total)} freed.")
