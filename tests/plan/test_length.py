"""Quantities become rows and steps."""

import pytest

from toolkit.plan.length import (
    Every,
    count_batch_rows,
    count_steps,
    evaluation_interval,
    resolve_interval,
)
from toolkit.spec.duration import BatchSize, Interval, TrainLength


@pytest.mark.parametrize(
    ("batch", "rows"), [("64 rows", 64), ("16Ki tokens", 64), ("16k tokens", 62), ("300 tokens", 1)]
)
def test_rows_of_a_batch(batch, rows):
    assert count_batch_rows(BatchSize.parse(batch), 256) == rows


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        ("500 steps", 500),
        ("1 token", 1),
        ("1_638_400 tokens", 100),
        ("1_638_401 tokens", 101),
        ("6400 samples", 100),
        ("2 epochs", 32),
        ("0.5 epochs", 8),
        ("20 tokens/param", 1221),  # 1M parameters: 20M tokens in batches of 16,384
    ],
)
def test_steps_cover_the_length(facts, duration, steps):
    counted = count_steps(
        TrainLength.parse(duration),
        batch_rows=64,
        sequence_length=256,
        parameters=1_000_000,
        facts=facts(rows=1_000),
    )
    assert counted == steps


def test_epochs_wait_for_the_data():
    length = TrainLength.parse("2 epochs")
    assert count_steps(length, batch_rows=1, sequence_length=8, parameters=1, facts=None) is None
    interval = Interval.parse("1 epoch")
    assert resolve_interval(interval, batch_rows=1, sequence_length=8, facts=None) is None


@pytest.mark.parametrize(
    ("interval", "every"),
    [
        ("5 steps", Every(steps=5)),
        ("100k tokens", Every(steps=6)),
        ("1 token", Every(steps=1)),
        ("0.5 epochs", Every(steps=8)),
        ("90 seconds", Every(seconds=90.0)),
        ("2 minutes", Every(seconds=120.0)),
        ("1.5 hours", Every(seconds=5400.0)),
    ],
)
def test_intervals(facts, interval, every):
    made = resolve_interval(
        Interval.parse(interval), batch_rows=64, sequence_length=256, facts=facts(rows=1_000)
    )
    assert made == every


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 500])
def test_about_ten_evaluations_by_default(steps):
    every = evaluation_interval(steps)
    assert every is not None
    assert every.steps is not None
    assert min(steps, 5) <= -(-steps // every.steps) <= 10
