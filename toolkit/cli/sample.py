"""`tk sample`: have a model write."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Json, Reference, Runs

if TYPE_CHECKING:
    from toolkit.evals.sampling import Loaded
    from toolkit.spec.labelled import Labelled
    from toolkit.store.runs import RunFolder


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
    shots: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:N]|N",
            help="Put examples before the prompt: those of a file, or N labelled rows of the run's spec.",
        ),
    ] = None,
    shot_format: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="How an example is written. Default: {input} => {output}"),
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Have a model write on from a prompt. The text appears as it is written.

    With --shots the prompt is a question behind examples with their answers (fields such as prompt and completion,
    question and answer, text and label), and one line is written: what a model learns from its context alone.

    \b
    Examples:
      tk sample gpt_small "def main("
      tk sample gpt_small@best --temperature 0 --max-tokens 100
      tk sample gpt_small/pretrain@step_400 "import " --seed 7 -n 3
      tk sample gpt_small "a cat" --shots examples.jsonl:4
    """
    import secrets

    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import DIM, paint, say_json
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.runs import runs_root
    from toolkit.store.text import sanitize

    if top_p == 0:
        raise BadInput("--top-p 0 leaves no token to draw from. Write a share above 0, or 1 for all.")
    folder, checkpoint = find_checkpoint(run, runs_root(runs))
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.evals.sampling import continuation, load_for_sampling

    model = load_for_sampling(checkpoint)
    first = secrets.randbits(32) if seed is None else seed
    if shots is not None:
        prompt = _few_shot(folder, model, prompt, shots, shot_format, seed=seed or 0, max_tokens=max_tokens)
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
        if shots is not None:
            pieces = _first_line(pieces)
        if as_json:
            written.append({"prompt": prompt, "text": "".join(pieces), "seed": first + number})
            continue
        if count > 1:
            print(paint(f"--- {number + 1}, seed {first + number}", DIM))
        apart = not getattr(model.task, "goes_on", True)
        print(sanitize(prompt, multiline=True), end="\n" if apart else "", flush=True)
        for piece in pieces:
            print(sanitize(piece, multiline=True), end="", flush=True)
        print()
    if as_json:
        say_json({"checkpoint": checkpoint.id, "step": checkpoint.step, "samples": written})


def _few_shot(
    run: "RunFolder",
    model: "Loaded",
    question: str,
    shots: str,
    form: str | None,
    *,
    seed: int,
    max_tokens: int,
) -> str:
    """The prompt with examples before it."""
    from pathlib import Path

    from toolkit.cli.errors import BadInput
    from toolkit.evals.shots import FORMAT, few_shot_prompt, read_shots

    name, _, digits = shots.rpartition(":")
    path, count = (name, digits) if name and digits.isdecimal() else (shots, None)
    if shots.isdecimal():
        found = read_shots(_rows(run), int(shots), seed)
    else:
        found = read_shots(Path(path), int(count) if count else None, seed)
    assert model.tokenizer is not None, "load_for_sampling has seen to that"
    limit = model.task.trunk.arch.max_sequence_length
    try:
        prompt, kept = few_shot_prompt(
            found, question, model.tokenizer, room=limit - min(max_tokens, limit // 4), form=form or FORMAT
        )
    except ValueError as error:
        raise BadInput(f"--shot-format {error}") from error
    if kept < len(found):
        print(f"{kept} of {len(found)} examples fit into {limit} tokens", file=sys.stderr)
    return prompt


def _rows(run: "RunFolder") -> "Labelled":
    """The labelled rows that the spec of a run names."""
    from toolkit.cli.errors import BadInput
    from toolkit.plan.record import Record
    from toolkit.spec.spec import Spec

    spec = Spec.model_validate(Record.read(run).spec or {})
    targets = spec.finetune
    if not targets:
        raise BadInput(f"the spec of {run} has no labelled rows: name a file, --shots FILE")
    return targets.get(run.stage, next(iter(targets.values()))).data


def _first_line(pieces: "Iterator[str]") -> "Iterator[str]":
    """What is written up to the end of a line that holds something."""
    begun = False
    for piece in pieces:
        line, end, _ = (piece if begun else piece.lstrip("\n")).partition("\n")
        if line:
            begun = True
            yield line
        if begun and end:
            return
