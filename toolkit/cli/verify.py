"""`tk verify`: whether the checkpoints are what was written, and whether they come out again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli.options import Json, Run, Runs

if TYPE_CHECKING:
    from toolkit.store.runs import RunFolder


def verify(
    run: Run,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Also train again from the checkpoint before last, and compare with the last."
        ),
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Check the checkpoints of a run.

    Every file is read, and its size and hash compared with the manifest.

    With --resume the last stretch of training is replayed, which proves that resuming is exact: weights and
    optimizer must come out bit for bit. Nothing is written. The exit status is 1 where something differs.

    \b
    Examples:
      tk verify gpt_small
      tk verify gpt_small --resume
    """
    from toolkit.cli.errors import EXIT_FAILED
    from toolkit.cli.output import say_json
    from toolkit.store.errors import UnknownCheckpoint
    from toolkit.store.runs import open_run, runs_root

    folder = open_run(runs_root(runs), run)
    found = [_verify(path) for path in _folders(folder)]
    if not found:
        raise UnknownCheckpoint(f"{folder} has no checkpoint yet.")
    intact = all(item["intact"] for item in found)
    if not as_json:
        for item in found:
            _print(item)
    status = _replay(folder, apart=as_json) if resume and intact else None
    if as_json:
        replayed = {} if status is None else {"replay_exit_status": status}
        say_json({"run": str(folder), "intact": intact, **replayed, "checkpoints": found})
    if not intact or status:
        raise typer.Exit(status or EXIT_FAILED)


def _print(item: dict[str, Any]) -> None:
    from toolkit.cli.output import GREEN, RED, paint, say
    from toolkit.plan.figures import size

    if item["intact"]:
        about = f"{item['id'][:12]}  {item['files']} files, {size(item['bytes'])}"
        print(f"{paint('intact', GREEN)}   {item['name']}  {about}")
    else:
        print(paint("damaged", RED), end="  ")
        say(f"{item['name']}  {item['problem']}")


def _folders(run: "RunFolder") -> list[Path]:
    """Checkpoints by step, those with an unreadable manifest too."""
    from toolkit.store.manifest import FOLDER

    if not run.checkpoints.is_dir():
        return []
    return sorted(path for path in run.checkpoints.iterdir() if FOLDER.fullmatch(path.name))


def _verify(path: Path) -> dict[str, Any]:
    from toolkit.store.errors import CorruptCheckpoint
    from toolkit.store.manifest import read_checkpoint, verify_files

    try:
        checkpoint = read_checkpoint(path)
        verify_files(checkpoint)
    except CorruptCheckpoint as error:
        return {"name": path.name, "path": str(path), "intact": False, "problem": error.problem}
    return {
        "name": path.name,
        "path": str(path),
        "intact": True,
        "id": checkpoint.id,
        "step": checkpoint.step,
        "files": len(checkpoint.files),
        "bytes": checkpoint.size,
    }


def _replay(run: "RunFolder", *, apart: bool) -> int:
    """Exit status of the replay; `apart` leaves standard output to the JSON."""
    from contextlib import nullcontext

    from pydantic import ValidationError

    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import results_apart
    from toolkit.engine.job import Job
    from toolkit.engine.supervisor import supervise
    from toolkit.plan.record import Record
    from toolkit.spec.spec import Spec

    try:
        spec = Spec.model_validate(Record.read(run).spec)
    except ValidationError as error:
        raise BadInput(f"{run} does not tell a spec that this version of tk reads: {run.events}") from error
    job = Job(action="replay", root=run.root, name=run.name, stage=run.stage, spec=spec, text="")
    with results_apart() if apart else nullcontext():
        return supervise(job)
