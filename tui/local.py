"""The counters of this machine over the last hour, sampled only while somebody looks."""

import time
from collections import deque

import numpy as np

from toolkit.plan.devices import Devices, GPUProcess
from toolkit.store.tail import Points

KEPT = 1800
SECONDS = 2.0


class LocalDevices:
    """Samples this machine. Begins with the first `sample`, as the libraries take a while to load."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._devices: Devices | None = None
        self._history: dict[str, deque[tuple[float, float]]] = {}
        self._sampled = 0.0
        self.processes: list[GPUProcess] = []
        self.names: list[str] = []
        self.missing = ""
        self.latest: dict[str, float] = {}

    def sample(self, *, at_once: bool = False) -> bool:
        """Read the counters, unless they were read within two seconds; whether they were."""
        if not at_once and time.monotonic() - self._sampled < SECONDS * 0.9:
            return False
        self._sampled = time.monotonic()
        if self._devices is None:
            self._devices = Devices(self._folder)
            self.names, self.missing = self._devices.names, self._devices.missing
        self.latest = self._devices.sample()
        now = time.time()
        for name, value in self.latest.items():
            self._history.setdefault(name, deque(maxlen=KEPT)).append((now, value))
        self.processes = self._devices.processes()
        return True

    def points(self, name: str) -> Points | None:
        """The history of a counter; steps are seconds."""
        kept = list(self._history.get(name, ()))
        if not kept:
            return None
        table = np.array(kept)
        return Points(table[:, 0].astype(np.int64), table[:, 0], table[:, 1].astype(np.float32))
