"""`tk doctor`: what is wrong with the machine, or with a run's folder."""

from typing import Annotated

import typer

from toolkit.cli.options import Json, Runs


def doctor(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Look at this run's folder too.", show_default=False),
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Check the machine, the installation and a run's folder.

    torch and its devices, precision, disks and their speed, locks, limits, SLURM, clocks. Nothing is changed:
    what is wrong is said with the way out. The exit status is 1 where something is bad.

    \b
    Examples:
      tk doctor
      tk doctor gpt_small
    """
    from toolkit.cli.checks import machine_findings, run_findings
    from toolkit.cli.errors import EXIT_FAILED
    from toolkit.cli.output import GREEN, RED, YELLOW, paint, say_json
    from toolkit.plan.corpus import cache_root
    from toolkit.store.runs import open_run, runs_root
    from toolkit.store.text import sanitize

    root = runs_root(runs)
    findings = []
    colours = {"ok": GREEN, "note": YELLOW, "bad": RED}
    sources = [machine_findings(root, cache_root())]
    if run is not None:
        sources.append(run_findings(open_run(root, run)))
    for source in sources:
        for finding in source:
            findings.append(finding)
            if not as_json:
                verdict = paint(f"{finding.verdict:<4}", colours[finding.verdict])
                print(f"{verdict}  {finding.subject:<14} {sanitize(finding.text)}", flush=True)
    if as_json:
        say_json([finding._asdict() for finding in findings])
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
