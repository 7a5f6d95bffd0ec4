"""Help is complete and fits a terminal."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from toolkit.cli.main import app

READING = ["plan", "ls", "show", "diff", "lineage", "sample", "fill", "probe", "transfer", "verify", "import"]
COMMANDS = [
    "run",
    "plan",
    "new",
    "schema",
    "ls",
    "show",
    "diff",
    "lineage",
    "sample",
    "fill",
    "probe",
    "transfer",
    "export",
    "verify",
    "stop",
    "checkpoint",
    "rm",
    "import",
]


def test_help_lists_every_command(desk) -> None:
    text = desk.tk("--help")
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line[:3].strip()]
    assert [name for name in listed if name in COMMANDS] == COMMANDS
    assert "..." not in text.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_how_it_is_used(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], prog_name="tk", env={"COLUMNS": "80"}).output
    assert f"\n    tk {command}" in text.replace("  Example:", "  Examples:").partition("  Examples:")[2]
    assert max(map(len, text.splitlines())) <= 80
    assert ("--json" in text) == (command in READING)


def test_run_documents_its_exit_status(desk) -> None:
    text = desk.tk("run", "--help").partition("Exit status:")[2]
    listed = [line.split()[0] for line in text.partition("Arguments:")[0].splitlines() if line.strip()]
    assert listed == ["0", "75", "1", "2"]


def test_the_version_is_told(desk) -> None:
    assert desk.tk("--version").startswith("tk 0.")


def test_shells_complete_commands_and_runs(finished) -> None:
    def complete(words: str) -> str:
        # As the script that `tk --install-completion` writes asks.
        environment = {
            **finished.environment,
            "_TK_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split())),
        }
        command = [sys.executable, "-m", "toolkit"]
        result = subprocess.run(
            command, cwd=finished.folder, env=environment, text=True, capture_output=True, check=False
        )
        return result.stdout

    assert "sample" in complete("tk ")
    assert complete("tk show ").split() == ["tiny/pretrain"]
