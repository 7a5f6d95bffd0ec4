"""`tk sample`: have a model write."""

from typing import Annotated

import typer

from toolkit.cli.options import Json, Reference, Runs


def sample(
    run: Reference,
    prompt: Annotated[str, typer.Argument(help="What the text begins with; by default nothing.")] = "",
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 takes the likeliest token; higher is more varied.")
    ] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the k likeliest tokens; 0 from all.")] = 50,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest that have this probability.")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Equal seeds write equal text.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest text, in tokens.")] = 256,
    count: Annotated[int, typer.Option("-n", min=1, help="So many texts.")] = 1,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Have a model write on from a prompt. The text appears as it is written.

    \b
    Examples:
      tk sample gpt_small "def main("
      tk sample gpt_small@best --temperature 0 --max-tokens 100
      tk sample gpt_small/pretrain@step_400 "import " --seed 7 -n 3
    """
    import secrets

    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import DIM, paint, say_json
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.runs import runs_root
    from toolkit.store.text import sanitize

    if top_p == 0:
        raise BadInput("--top-p 0 leaves no token to draw from. Write a share above 0, or 1 for all.")
    _, checkpoint = find_checkpoint(run, runs_root(runs))
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.evals.sampling import continuation, load_for_sampling

    model = load_for_sampling(checkpoint)
    first = secrets.randbits(32) if seed is None else seed
    written = []
    for number in range(count):
        pieces = continuation(
            model,
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k or None,
            top_p=top_p if top_p < 1 else None,
            seed=(first + number) % 2**63,
        )
        if as_json:
            written.append({"prompt": prompt, "text": "".join(pieces), "seed": first + number})
            continue
        if count > 1:
            print(paint(f"--- {number + 1}, seed {first + number}", DIM))
        print(sanitize(prompt, multiline=True), end="", flush=True)
        for piece in pieces:
            print(sanitize(piece, multiline=True), end="", flush=True)
        print()
    if as_json:
        say_json({"checkpoint": checkpoint.id, "step": checkpoint.step, "samples": written})
