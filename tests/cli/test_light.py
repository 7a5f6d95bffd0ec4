"""What the light commands import, and how long they take."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "tensorboard", "transformers", "datasets", "pyarrow", "tokenizers", "safetensors")
CODE = """
import sys
from toolkit.cli.main import main
banned = sys.argv.pop(1).split(",")
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in banned if name in sys.modules], file=sys.stderr)
"""


def imported(finished, banned: tuple[str, ...], *arguments: str) -> str:
    """Which of the banned modules a command imports."""
    result = subprocess.run(
        [sys.executable, "-c", CODE, ",".join(banned), *arguments],
        cwd=finished.folder,
        env=finished.environment,
        text=True,
        capture_output=True,
        check=True,
    )
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("run", "--help"),
        ("ls",),
        ("show", "tiny"),
        ("show", "tiny", "--json"),
        ("diff", "tiny", "tiny"),
        ("plan", "tiny.toml"),
        ("verify", "tiny"),
        ("schema",),
        ("run", "tiny.toml"),  # it is finished already
    ],
    ids=" ".join,
)
def test_light_commands_need_no_heavy_library(finished, command: tuple[str, ...]) -> None:
    assert imported(finished, HEAVY, *command) == "[]"


def test_help_needs_little_more_than_typer(finished) -> None:
    assert imported(finished, (*HEAVY, "pydantic", "numpy", "rich", "psutil"), "--help") == "[]"


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
