"""A bench for runs that are disturbed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Before anything was run."""
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench for the tests of a module, which name their runs apart."""
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def two_ranks(shared: Bench) -> str:
    """An undisturbed run on two ranks."""
    shared.run("undisturbed", "--nproc", "2")
    return "undisturbed"
