"""Batches arrive in order, whole, and whoever divides them."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import files_data
from toolkit.data.batches import Batches
from toolkit.data.corpus import PackedSplit
from toolkit.data.prepare import prepare
from toolkit.data.rows import Rows

SIZES = {"seed": 5, "micro_rows": 3, "batch_rows": 10}


@pytest.fixture
def split(corpus_file: Path, cache: Path) -> PackedSplit:
    return prepare(files_data(corpus_file), cache=cache).train


def joined(steps: list[list[Rows]]) -> list[np.ndarray[Any, Any]]:
    return [np.concatenate([rows.inputs for rows in step]) for step in steps]


def test_batches_are_the_rows_of_their_steps(split: PackedSplit) -> None:
    with Batches(split, start_step=4, steps=9, **SIZES) as batches:
        steps = list(batches)
    assert [[len(rows.inputs) for rows in step] for step in steps] == [[3, 3, 3, 1]] * 5
    for number, inputs in enumerate(joined(steps), start=4):
        assert np.array_equal(inputs, split.rows(number, 0, 10, seed=5, batch_rows=10).inputs)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_share_the_micro_batches_of_one(split: PackedSplit, world: int) -> None:
    alone = next(iter(Batches(split, start_step=0, steps=1, **SIZES)))
    shared: list[Any] = [None] * len(alone)
    for rank in range(world):
        with Batches(split, start_step=0, steps=1, ranks=(rank, world), **SIZES) as batches:
            shared[rank::world] = next(iter(batches))
    assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(alone, shared, strict=True))


def test_a_resumed_reader_goes_on_at_its_step(split: PackedSplit) -> None:
    with Batches(split, start_step=0, steps=6, **SIZES) as batches:
        whole = joined(list(batches))
    with Batches(split, start_step=4, steps=6, **SIZES) as batches:
        assert all(np.array_equal(a, b) for a, b in zip(whole[4:], joined(list(batches)), strict=True))


def test_closing_ends_the_thread_at_once(split: PackedSplit) -> None:
    batches = Batches(split, start_step=0, steps=10**9, **SIZES)
    next(iter(batches))
    start = time.perf_counter()
    batches.close()
    assert time.perf_counter() - start < 2
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_an_error_of_the_thread_reaches_the_reader() -> None:
    def fail(*_: object, **__: object) -> Rows:
        raise OSError("the disk went away")

    broken: Any = SimpleNamespace(rows=fail)
    with (
        Batches(broken, start_step=0, steps=3, **SIZES) as batches,
        pytest.raises(OSError, match="the disk went away"),
    ):
        next(iter(batches))
