"""Runs in a temporary folder, and a way to do things in another process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.store.runs import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that exists and has nothing in it."""
    folder = RunFolder(tmp_path / "runs", "gpt_small", "pretrain")
    folder.create()
    return folder


@pytest.fixture
def python() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts another interpreter that can import toolkit; its pipes are text."""

    def start(*arguments: str | Path) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    return start
