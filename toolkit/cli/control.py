"""`tk stop` and `tk checkpoint`: ask a running run for something."""

from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Run, Runs

if TYPE_CHECKING:
    from toolkit.store.requests import Kind, Request
    from toolkit.store.runs import RunFolder

Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is done.")]
POLL_SECONDS = 0.2


def stop(run: Run, wait: Wait = False, runs: Runs = None) -> None:
    """Ask a run to save its work and stop.

    `tk run` goes on with it later.

    \b
    Example:
      tk stop gpt_small --wait
    """
    _ask(run, "stop", wait, runs)


def checkpoint(run: Run, wait: Wait = False, runs: Runs = None) -> None:
    """Ask a run to save a checkpoint now.

    \b
    Example:
      tk checkpoint gpt_small --wait
    """
    _ask(run, "checkpoint", wait, runs)


def _ask(reference: str, kind: "Kind", wait: bool, runs: Runs) -> None:
    import os

    from toolkit.cli.errors import EXIT_FAILED
    from toolkit.cli.output import say
    from toolkit.plan.record import read_state
    from toolkit.store.health import ACTIVE
    from toolkit.store.requests import ask
    from toolkit.store.runs import open_run, runs_root

    run = open_run(runs_root(runs), reference)
    state, status = read_state(run)
    if state not in ACTIVE:
        how = "its process is gone" if state == "dead" else f"it is {state}"
        say(f"{run} is not running: {how}. Nothing was asked of it.")
        raise typer.Exit(0 if kind == "stop" else EXIT_FAILED)
    request = ask(run, kind, by=os.environ.get("USER") or f"user {os.getuid()}")
    if not wait:
        say(f"{run} was asked to {'stop' if kind == 'stop' else 'save a checkpoint'}.")
    elif kind == "stop":
        _await_stop(run)
    else:
        _await_checkpoint(run, request, from_step=status.step if status else 0)


def _await_stop(run: "RunFolder") -> None:
    from time import sleep

    from toolkit.cli.errors import EXIT_FAILED
    from toolkit.cli.output import say
    from toolkit.plan.record import read_state
    from toolkit.store.health import ACTIVE

    while True:
        state, status = read_state(run)
        if state not in ACTIVE:
            break
        sleep(POLL_SECONDS)
    say(f"{run} is {state}" + (f" at step {status.step}." if status else "."))
    if state not in ("stopped", "finished"):
        raise typer.Exit(EXIT_FAILED)


def _await_checkpoint(run: "RunFolder", request: "Request", from_step: int) -> None:
    """Until a checkpoint that is no older than the request is announced."""
    from time import sleep

    from toolkit.cli.errors import EXIT_FAILED
    from toolkit.cli.output import say
    from toolkit.plan.record import read_state
    from toolkit.store.events import read_events
    from toolkit.store.health import ACTIVE

    while True:
        state, _ = read_state(run)  # before the events: what the run did last is then among them
        for event in read_events(run):
            if event["time"] < request.time:
                continue
            if event["kind"] == "checkpoint" and event["step"] >= from_step:
                say(f"{run} saved step {event['step']}: {event['id'][:12]}")
                return
            if event["kind"] == "checkpoint_failed":
                say(f"{run} could not save: {event.get('reason')}")
                raise typer.Exit(EXIT_FAILED)
        if state not in ACTIVE:
            say(f"{run} is {state}; no checkpoint came of it.")
            raise typer.Exit(EXIT_FAILED)
        sleep(POLL_SECONDS)
