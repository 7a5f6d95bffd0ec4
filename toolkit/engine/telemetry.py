"""The counters of the machine a run trains on, sampled beside the training."""

import os
import threading
from pathlib import Path

from toolkit.plan.devices import Devices

SAMPLE_SECONDS = 5.0
FIRST_SECONDS = 1.0
"""Before the first sample: soon, so that short runs have one."""


class Telemetry(threading.Thread):
    """Reads the counters every few seconds. A thread, since some take the driver tens of milliseconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="telemetry", daemon=True)
        self._folder = folder
        self._ended = threading.Event()
        self._fresh: dict[str, float] | None = None
        self.start()

    def run(self) -> None:
        devices = Devices(self._folder, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
        wait = FIRST_SECONDS
        while not self._ended.wait(wait):
            self._fresh = devices.sample()
            wait = SAMPLE_SECONDS
        devices.close()

    def take(self) -> dict[str, float]:
        """The counters by tag, `system/gpu0/utilization` …; empty if there are none since the last call."""
        fresh, self._fresh = self._fresh, None
        return {f"system/{name}": value for name, value in (fresh or {}).items()}

    def stop(self) -> None:
        self._ended.set()
