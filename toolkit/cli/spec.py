"""`tk new` and `tk schema`: help with writing specs."""

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the spec and its runs.")],
    preset: Annotated[str, typer.Option(metavar="NAME", help="gpt2, llama or qwen3.")] = "qwen3",
    files: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Text to train on: a file, folder or glob. Default: Python's own."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; - prints. Default: NAME.toml."),
    ] = None,
) -> None:
    """Write a commented spec to begin from. Nothing is overwritten.

    \b
    Examples:
      tk new my_gpt
      tk new my_gpt --preset llama --files "texts/*.txt"
    """
    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import say
    from toolkit.spec.model import PRESETS
    from toolkit.spec.template import template
    from toolkit.store.runs import NAME

    if not NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} can't name a spec: use up to 64 of a-z, 0-9, '.', '_' and '-', "
            "the first a letter or a digit."
        )
    family = next((known for known in PRESETS if known == preset), None)
    if family is None:
        raise BadInput(f'--preset: there is no "{preset}". There are: {", ".join(PRESETS)}.')
    text = template(name, preset=family, files=files)
    if output == Path("-"):
        print(text, end="")
        return
    path = output or Path(f"{name}.toml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{path} exists already. Name another file: --output FILE") from None
    say(f"{path} is written. Edit it, then:\n  tk plan {path}\n  tk run {path}")


def schema() -> None:
    """Print the JSON schema of a spec.

    Editors complete and check TOML by it; the specs name it in their first line.

    \b
    Example:
      tk schema > specs/tk.schema.json
    """
    import json

    from toolkit.spec.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
