"""`tk probe`: linear probes on every layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Json, Reference, Runs

if TYPE_CHECKING:
    from toolkit.evals.probe import ProbeReport
    from toolkit.spec.target import Finetune
    from toolkit.store.runs import RunFolder

BAR = 30
"""Columns of a bar."""


def probe(
    run: Reference,
    target: Annotated[
        str | None,
        typer.Option(metavar="SPEC[:STAGE]", help="A spec and its target. Default: the run's own spec."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="NAME", help="A target of the run's own spec.")
    ] = None,
    labels: Annotated[int | None, typer.Option(min=2, help="Learn from so many rows.")] = None,
    pool: Annotated[
        str | None, typer.Option(metavar="last|mean", help="The vector of a row. Default: the target's.")
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="The trunk with random weights beside it.")
    ] = False,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the scores by depth: .png, .svg or .pdf.")
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Train a linear probe on every layer of a run.

    It shows where in the trunk the knowledge of a target's labels sits. Probes are logistic or ridge regressions on
    standardised vectors; scores are on held-out rows.

    \b
    Examples:
      tk probe gpt_small --stage module_classifier --random
      tk probe gpt_small@best --target specs/news_transfer.toml --png depth.png
      tk probe gpt_small --target specs/news_transfer.toml:news --json
    """
    from contextlib import nullcontext
    from dataclasses import asdict

    from toolkit.cli.errors import BadInput
    from toolkit.cli.output import results_apart, say_json
    from toolkit.store.checkpoints import find_checkpoint
    from toolkit.store.runs import runs_root

    if pool not in (None, "last", "mean"):
        raise BadInput(f"--pool {pool}: write last or mean")
    root = runs_root(runs)
    folder, checkpoint = find_checkpoint(run, root)
    name, section = _target(folder, target, stage)
    if labels is not None:
        section = section.model_copy(update={"data": section.data.model_copy(update={"limit": labels})})
    with results_apart() if as_json else nullcontext():
        # torch takes seconds to import: what can fail without it has had its chance.
        from toolkit.engine.console import Console, DataProgress
        from toolkit.evals.probe import probe_layers, save

        with Console() as console:
            phase = ""

            def watch(what: str, done: int, total: int) -> None:
                nonlocal phase
                if what != phase:
                    console.start_phase(what, total)
                    phase = what
                console.advance(done, f"{done} of {total}")

            report = probe_layers(
                folder,
                checkpoint,
                section,
                name=name,
                pool=pool,
                random_too=random,
                watch=watch,
                progress=DataProgress(console, lambda: False),
            )
        if png is not None:
            save(report, png)
    if as_json:
        fields = asdict(report)
        for kind in ("trained", "random"):
            fields[kind] = [score._asdict() for score in getattr(report, kind)]
        say_json(fields)
    else:
        _print(report)


def _target(run: "RunFolder", target: str | None, stage: str | None) -> "tuple[str, Finetune]":
    """The section that is meant, by name."""
    from pydantic import ValidationError

    from toolkit.cli.errors import BadInput
    from toolkit.plan.record import Record
    from toolkit.spec.load import load_spec
    from toolkit.spec.spec import Spec

    if target is not None:
        path, _, asked = target.partition(".toml:")
        spec, origin = load_spec(f"{path}.toml" if asked else target).spec, target
        stage = asked or stage
    else:
        try:
            spec, origin = Spec.model_validate(Record.read(run).spec), f"the spec of {run}"
        except ValidationError as error:
            raise BadInput(
                f"{run} tells no spec that this version of tk reads. Name a --target SPEC."
            ) from error
    names = list(spec.finetune)
    if stage is None and len(names) == 1:
        stage = names[0]
    if stage is None or stage not in spec.finetune:
        have = f"It has: {', '.join(names)}" if names else "It has no target: name one with --target SPEC"
        raise BadInput(f'{origin} has no target "{stage or ""}". {have}.')
    return stage, spec.finetune[stage]


def _print(report: "ProbeReport") -> None:
    from toolkit.cli.output import say, say_table

    say(
        f"{report.metric} of {report.target} on {report.validation_rows:,} held-out rows, learned from "
        f"{report.train_rows:,}"
    )
    say(f"{report.run} step {report.step}, {report.pool} pooling; best constant {report.baseline:.3f}")
    top = max(1e-9, *(score.score for score in (*report.trained, *report.random)))
    rows = []
    for number, score in enumerate(report.trained):
        beside = [f"{report.random[number].score:.3f}"] if report.random else []
        bar = "█" * max(0, round(BAR * score.score / top))
        where = "embedding" if score.layer == 0 else f"block {score.layer}"
        rows.append([where, f"{score.score:.3f}", *beside, bar])
    header = ["LAYER", "TRAINED", *(["RANDOM"] if report.random else []), ""]
    say_table(header, rows, right=(1, 2) if report.random else (1,))
