"""`tk`: the commands and how their errors reach the user.

The modules of commands import nothing but Typer; what a command needs is imported when it runs, so that help
and completion are quick.
"""

import os
import sys
from typing import Annotated

import typer

from toolkit.cli.chat import chat
from toolkit.cli.control import checkpoint, stop
from toolkit.cli.dash import board, dash
from toolkit.cli.diff import diff
from toolkit.cli.doctor import doctor
from toolkit.cli.errors import EXIT_FAILED, exit_status
from toolkit.cli.export import export
from toolkit.cli.fill import fill
from toolkit.cli.imports import import_
from toolkit.cli.lineage import lineage
from toolkit.cli.listing import ls
from toolkit.cli.plan import plan
from toolkit.cli.predict import predict
from toolkit.cli.probe import probe
from toolkit.cli.remove import rm
from toolkit.cli.resume import resume
from toolkit.cli.run import run
from toolkit.cli.sample import sample
from toolkit.cli.show import show
from toolkit.cli.spec import new, schema
from toolkit.cli.submit import submit
from toolkit.cli.transfer import transfer
from toolkit.cli.verify import verify

DEBUG = "--debug"

app = typer.Typer(
    name="tk",
    help="Pretrain once, fine-tune many times, and measure what the pretraining bought.",
    epilog="Begin with: tk run specs/gpt_small.toml",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    *(run, resume, submit, plan, new, schema, dash, board, ls, show, diff, lineage),
    *(sample, chat, predict, fill, probe, transfer, export, verify, doctor, stop, checkpoint, rm),
)
for command in COMMANDS:
    app.command()(command)
app.command("import")(import_)


def main() -> None:
    """Run `tk` with the arguments of the process."""
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if DEBUG in arguments[:end]:
        os.environ["TK_DEBUG"] = "1"  # the worker reads it too
        arguments = [text for text in arguments[:end] if text != DEBUG] + arguments[end:]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # By lines, also into a pipe: what the worker says stands between what is said before and after it.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        app(arguments, prog_name="tk")
    except Exception as error:
        if os.environ.get("TK_DEBUG"):
            raise
        status = exit_status(error)
        print(_message(error, known=status is not None), file=sys.stderr)
        sys.exit(EXIT_FAILED if status is None else status)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"tk {version('tk-pretrain')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Give the traceback of an error.")] = False,
) -> None:
    pass


def _message(error: Exception, *, known: bool) -> str:
    from toolkit.spec.errors import SpecErrors
    from toolkit.store.text import sanitize

    if isinstance(error, SpecErrors):
        return str(error)  # each line begins with its place
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
    if not known:
        text = f"{type(error).__name__}: {text}\nThis is a fault of tk. `tk {DEBUG} ...` gives the traceback."
    return sanitize(f"error: {text}", multiline=True)
