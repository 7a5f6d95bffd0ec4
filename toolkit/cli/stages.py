"""From a spec to the jobs of its stages, parents first, and what may stand in their way."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.cli.errors import BadInput

if TYPE_CHECKING:
    from toolkit.engine.job import Job
    from toolkit.plan.plan import Plan
    from toolkit.spec.load import LoadedSpec


def make_jobs(
    loaded: "LoadedSpec",
    stage: str | None,
    root: Path,
    *,
    name: str | None = None,
    imports: "dict[str, Plan] | None" = None,
) -> "list[Job]":
    """The jobs of one stage or of all, with the parents that can be trained before them; each once.

    Models of others among the parents are imported; with `imports` they are only planned, into it by their runs.

    Raises BadInput for a stage that isn't there, PlanError for a parent that isn't, and InteropError for a
    folder that can't be imported.
    """
    spec = loaded.spec if name is None else loaded.spec.model_copy(update={"name": name})
    if stage is not None and stage not in spec.stages:
        raise BadInput(f'{spec.name} has no stage "{stage}". It has: {", ".join(spec.stages)}.')
    jobs: dict[str, Job] = {}
    for wanted in spec.stages if stage is None else (stage,):
        _add(jobs, spec, loaded.text.decode(), wanted, root, imports, asked_for=True)
    return list(jobs.values())


def _add(
    jobs: "dict[str, Job]",
    spec: object,
    text: str,
    stage: str,
    root: Path,
    imports: "dict[str, Plan] | None",
    *,
    asked_for: bool,
) -> None:
    from toolkit.engine.job import Job
    from toolkit.plan.parents import HUGGING_FACE, read_reference
    from toolkit.spec.load import load_spec
    from toolkit.spec.spec import PRETRAIN, Spec

    assert isinstance(spec, Spec)
    if stage != PRETRAIN:
        named = spec.finetune[stage].parent or spec.parent or ""
        if named.startswith(HUGGING_FACE):
            _import(named, root, imports)
        reference = read_reference(spec, stage, root)
        if reference.spec is not None:
            above = text if reference.path is None else load_spec(reference.path).text.decode()
            _add(jobs, reference.spec, above, reference.run.stage, root, imports, asked_for=False)
    job = Job(root=root, name=spec.name, stage=stage, spec=spec, text=text, asked_for=asked_for)
    before = jobs.get(str(job.run))
    if before is None:
        jobs[str(job.run)] = job
    elif asked_for and not before.asked_for:
        jobs[str(job.run)] = before.model_copy(update={"asked_for": True})


def _import(reference: str, root: Path, imports: "dict[str, Plan] | None") -> None:
    if imports is not None:
        from toolkit.interop.planned import plan_import

        if (plan := plan_import(reference, root)) is not None:
            imports[f"{plan.name}/{plan.stage}"] = plan
        return
    from toolkit.cli.output import results_apart
    from toolkit.interop.imports import import_parent

    with results_apart():
        import_parent(reference, root)


def check(jobs: "Sequence[Job]", *, replace: bool) -> None:
    """Whether every job can be carried out, before the first is. Raises PlanError, BadInput and DataError."""
    from toolkit.cli.words import changes
    from toolkit.plan.record import Record, spec_identity

    for job in jobs:
        identity = spec_identity(job.spec, job.stage, job.root)
        _find_rows(job, begins_again=replace and job.asked_for)
        if not job.run.exists() or (replace and job.asked_for):
            continue
        record = Record.read(job.run)
        # Without plan and checkpoints nothing was trained yet: its data could not be read, say.
        nothing = record.plan is None and not record.checkpoints
        if nothing or record.fingerprint in (None, identity):
            continue
        differences = changes(
            record.spec or {}, job.spec.model_dump(mode="json"), only_identity=True, stage=job.stage
        )
        raise BadInput(
            "\n".join(
                [
                    f"{job.run} was begun with another spec:",
                    *(differences or ["  (its parent differs, or the spec it began with is not known)"]),
                    "Two ways on:",
                    "  --as NEW_NAME  runs this one beside it",
                    "  --replace      sets the old run aside and begins again",
                ]
            )
        )


def _find_rows(job: "Job", *, begins_again: bool) -> None:
    """Raises DataError where the files of a fine-tune are missing: a typing error is told before the pretraining."""
    from toolkit.data.sources.files import Files
    from toolkit.plan.record import Record
    from toolkit.spec.data import FilesSource
    from toolkit.spec.labelled import LabelledFiles

    target = job.spec.finetune.get(job.stage)
    if target is None or not isinstance(target.data, LabelledFiles):
        return
    if not begins_again and job.run.exists() and Record.read(job.run).state == "finished":
        return
    for path in (target.data.path, target.data.validation_path):
        if path is not None:
            _ = Files(FilesSource(kind="files", path=path)).files


def is_complete(job: "Job") -> bool:
    """Whether the job's run is finished, which is said."""
    from toolkit.cli.output import say
    from toolkit.plan.record import Record

    record = Record.read(job.run)
    if record.state != "finished":
        return False
    status = record.status
    results = [f"{name} {value:.4f}" for name, value in record.metrics.items() if name.startswith("val/")]
    step = status.step if status else "?"
    say(f"{job.run} is finished: step {step}  {'  '.join(results)}".rstrip())
    if job.asked_for:
        say(f"`tk show {job.run}` tells more, --replace begins again.")
    return True


def ask_before_replacing(jobs: "Sequence[Job]", *, yes: bool) -> None:
    """Ask where other runs came from a run that is to be replaced. Raises BadInput where nobody can answer."""
    import typer

    from toolkit.store.children import children

    replaced = {str(job.run) for job in jobs}
    for job in jobs:
        orphans = sorted({str(child.run) for child in children(job.run)} - replaced)
        if not orphans or yes:
            continue
        text = f"{', '.join(orphans)} came from {job.run}, and can't be told from it once it is replaced"
        if not sys.stdin.isatty():
            raise BadInput(f"{text}. Add --yes to replace it all the same, or use --as NEW_NAME.")
        typer.confirm(f"{text}. Replace it?", abort=True)


def put_aside(job: "Job") -> None:
    """Move the run that is there out of the way."""
    from toolkit.cli.output import say
    from toolkit.store.lease import hold
    from toolkit.store.runs import set_aside

    with hold(job.run):
        say(f"{job.run} is set aside as {set_aside(job.run)}")
