"""`tk import`: a model of others as a run."""

from typing import Annotated

import typer

from toolkit.cli.options import Json, Runs


def import_(
    model: Annotated[
        str,
        typer.Argument(
            metavar="hf:FOLDER_OR_NAME",
            help="A Hugging Face folder, or a name on the hub.",
            show_default=False,
        ),
    ],
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name of the run, in place of the folder's.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit on the hub.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Set the import that is there aside.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace also what other runs came from.")] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Import a model of transformers, or a LoRA of PEFT, as a run.

    It may be a GPT-2, a Llama or a Qwen 3, or a LoRA of PEFT on one of them; or a BERT, a ModernBERT or a ViT.
    Weights are read from safetensors alone, and no code that comes with them is run. `parent = "hf:..."` in a spec
    does the same by itself.

    \b
    Examples:
      tk import hf:models/my_gpt2
      tk import hf:Qwen/Qwen3-0.6B --as qwen
      tk show hf/qwen
    """
    from contextlib import nullcontext

    from toolkit.cli.output import results_apart, say, say_json
    from toolkit.interop.imports import import_parent
    from toolkit.store.checkpoints import CheckpointStore
    from toolkit.store.runs import runs_root

    with results_apart() if as_json else nullcontext():
        run = import_parent(model, runs_root(runs), name=as_name, revision=revision, replace=replace, yes=yes)
    checkpoint = CheckpointStore(run).resolve(None)
    if as_json:
        say_json({"run": str(run), "path": str(run.path), "checkpoint": checkpoint.id})
        return
    say(f'{run} holds {model}: write parent = "{run}" or parent = "{model}"')
