"""The machine's counters beside the training."""

import time
from pathlib import Path

import pytest

from toolkit.engine import telemetry
from toolkit.engine.telemetry import Telemetry


def test_counters_come_by_tag_and_each_sample_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(telemetry, "SAMPLE_SECONDS", 0.05)
    sampler = Telemetry(tmp_path)
    end = time.monotonic() + 10
    found: dict[str, float] = {}
    while not found and time.monotonic() < end:
        found = sampler.take()
        time.sleep(0.01)
    sampler.stop()
    sampler.join(10)
    assert not sampler.is_alive()
    assert found["system/memory/total_gib"] > 0
    sampler.take()
    assert sampler.take() == {}
