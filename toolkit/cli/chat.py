"""`tk chat`: talk to a model."""

from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Json, Reference, Runs

if TYPE_CHECKING:
    from toolkit.evals.conversation import Talk

HELP = "/reset begins anew, /exit or Ctrl-D ends, Ctrl-C stops an answer."


def chat(
    run: Reference,
    system: Annotated[str, typer.Option(help="What the model is told before the conversation.")] = "",
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 takes the likeliest token; higher is more varied.")
    ] = 0.7,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the k likeliest tokens; 0 from all.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Equal seeds answer equally.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Talk to a model that was fine-tuned to chat. Answers appear as they are written.

    A line is a message; a line that ends in a backslash goes on in the next. From a pipe every line is asked in
    turn, and only answers are printed. In a conversation: /reset begins anew, /exit ends.

    \b
    Examples:
      tk chat chatbot/assistant
      tk chat chatbot/assistant@best --temperature 0 --system "Answer briefly."
      echo "What is a noun?" | tk chat chatbot/assistant
    """
    import sys

    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.runs import runs_root

    _, checkpoint = find_checkpoint(run, runs_root(runs))
    # torch takes seconds to import: what can fail without it has had its chance.
    from toolkit.evals.conversation import Options, Talk, load_for_talk

    options = Options(temperature, top_k or None, None, max_tokens)
    talk = Talk(load_for_talk(checkpoint, device), options, system, seed)
    interactive = sys.stdin.isatty() and not as_json
    if interactive:
        _with_editing()
        print(f"{run}. {HELP}")
    while (line := _line(interactive)) is not None:
        match line.strip():
            case "":
                continue
            case "/exit" | "/quit":
                return
            case "/reset":
                talk.reset()
            case "/help":
                print(HELP)
            case _:
                _turn(talk, line, as_json)


def _line(interactive: bool) -> str | None:
    """A message, of one line or more; None at the end."""
    lines: list[str] = []
    while True:
        try:
            line = input(("> " if not lines else ". ") if interactive else "")
        except EOFError:
            return "\n".join(lines) if lines else None
        except KeyboardInterrupt:
            print()
            return None
        if not line.endswith("\\"):
            return "\n".join([*lines, line])
        lines.append(line[:-1])


def _turn(talk: "Talk", line: str, as_json: bool) -> None:
    import json

    from toolkit.cli.output import DIM, paint
    from toolkit.store.text import sanitize

    before = talk.forgotten
    said: list[str] = []
    try:
        for piece in talk.say(line):
            shown = piece if said else piece.lstrip()
            if not shown:
                continue
            said.append(shown)
            if not as_json:
                print(sanitize(shown, multiline=True), end="", flush=True)
    except KeyboardInterrupt:
        pass
    except ValueError as error:
        said = []
        print(sanitize(f"error: {error}"), end="")
    if as_json:
        print(json.dumps({"question": line, "answer": "".join(said).strip()}), flush=True)
        return
    print()
    if talk.forgotten > before:
        print(paint(f"({talk.forgotten - before} earlier messages no longer fit and are forgotten)", DIM))


def _with_editing() -> None:
    """Arrow keys and history, where Python has them."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
