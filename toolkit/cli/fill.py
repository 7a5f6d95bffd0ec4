"""`tk fill`: have a masked language model fill in what is hidden."""

from typing import Annotated

import typer

from toolkit.cli.options import Json, Reference, Runs


def fill(
    run: Reference,
    text: Annotated[
        str, typer.Argument(help="A text with [MASK] in the place of one or more tokens.", show_default=False)
    ],
    count: Annotated[int, typer.Option("-n", min=1, max=100, help="So many candidates for each mask.")] = 5,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Show what may stand at each [MASK] of a text.

    \b
    Examples:
      tk fill bert_small "def [MASK](self):"
      tk fill bert_small@best "for i in [MASK](len(x)):" -n 10
      tk fill protein_masked "MSIQHFRVALIPFFAAF[MASK]LPVFA" --json
    """
    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import say, say_json, say_table
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.runs import runs_root

    _, checkpoint = find_checkpoint(run, runs_root(runs))
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.evals.filling import fill as fill_in
    from toolkit.evals.filling import load_for_filling

    try:
        filled = fill_in(load_for_filling(checkpoint), text, count=count)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if as_json:
        masks = [[candidate._asdict() for candidate in mask] for mask in filled.masks]
        say_json({"checkpoint": checkpoint.id, "step": checkpoint.step, "text": filled.text, "masks": masks})
        return
    say(filled.text)
    for number, mask in enumerate(filled.masks, start=1):
        print()
        name = f"mask {number}" if len(filled.masks) > 1 else "token"
        rows = [(repr(candidate.token), f"{candidate.probability:.1%}") for candidate in mask]
        say_table((name, "probability"), rows, right=(1,))
