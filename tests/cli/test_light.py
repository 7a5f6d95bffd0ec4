"""What the light commands import, and how long they take."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "tensorboard", "transformers", "datasets", "pyarrow", "tokenizers", "safetensors")
CODE = """
import json, sys
from toolkit.cli.main import main
banned, *commands = json.loads(sys.argv[1])
for command in commands:
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    found = [name for name in banned if name in sys.modules]
    if found:
        break
print(command, found, file=sys.stderr)
"""
LIGHT = (
    ["--help"],
    ["run", "--help"],
    ["ls"],
    ["show", "tiny"],
    ["show", "tiny", "--json"],
    ["diff", "tiny", "tiny"],
    ["lineage"],
    ["lineage", "tiny@last", "--json"],
    ["plan", "tiny.toml"],
    ["verify", "tiny"],
    ["schema"],
    ["run", "tiny.toml"],  # it is finished already
)


def imported(finished, banned: tuple[str, ...], *commands: list[str]) -> str:
    """The first command that imports a banned module, and which; else the last and `[]`."""
    result = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps([banned, *commands])],
        cwd=finished.folder,
        env=finished.environment,
        text=True,
        capture_output=True,
        check=True,
    )
    return result.stderr.splitlines()[-1]


def test_light_commands_need_no_heavy_library(finished) -> None:
    assert imported(finished, HEAVY, *LIGHT) == "['run', 'tiny.toml'] []"


def test_help_needs_little_more_than_typer(finished) -> None:
    banned = (*HEAVY, "pydantic", "numpy", "rich", "psutil")
    assert imported(finished, banned, ["--help"]) == "['--help'] []"


@pytest.mark.parametrize(
    ("command", "limit"), [(("--help",), 0.3), (("plan", str(ROOT / "specs/gpt_small.toml")), 1.0)]
)
def test_they_answer_at_once(finished, command: tuple[str, ...], limit: float) -> None:
    fastest = float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        finished.tk(*command)
        fastest = min(fastest, time.perf_counter() - begun)
        if fastest < limit:
            break
    assert fastest < limit
