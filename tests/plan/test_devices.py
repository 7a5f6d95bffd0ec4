"""Counters of the machine. No GPU is needed: a stand-in for NVML refuses what MIG and containers refuse."""

import sys
import time
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from toolkit.plan.devices import Devices, throttle_words


class Refused(Exception):  # noqa: N818 - what NVML says
    """As NVMLError_NotSupported."""


def nvml(**answers: object) -> ModuleType:
    """A `pynvml` whose functions answer with these; all others are refused."""
    module = ModuleType("pynvml")
    asked: list[str] = []

    def make(name: str):
        def function(*arguments: object, **options: object) -> object:
            asked.append(name)
            if name not in answers:
                raise Refused(name)
            value = answers[name]
            return value(*arguments) if callable(value) else value

        return function

    def lookup(name: str) -> object:
        if name.startswith(("NVML_", "nvmlEventType", "nvmlMemory")):
            return 1
        if name.startswith("nvml"):
            return make(name)
        raise AttributeError(name)

    module.__dict__.update(NVMLError=Refused, asked=asked, __getattr__=lookup)
    return module


BASE = {"nvmlInit": None, "nvmlDeviceGetCount": 2, "nvmlDeviceGetHandleByIndex": lambda index: f"gpu{index}"}


def test_the_host_is_read_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    devices = Devices()
    assert devices.missing == "nvidia-ml-py is not installed"
    time.sleep(0.05)
    found = devices.sample()
    assert found["memory/total_gib"] == psutil.virtual_memory().total / 2**30
    assert 0 <= found["cpu/utilization"] <= 1
    assert {"memory/used_gib", "disk/free_gib", "network/received_mib_s"} <= set(found)
    assert devices.processes() == []


def test_without_a_driver_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert Devices().missing == "no NVML: nvmlInit"


def test_each_counter_that_is_refused_is_left_out_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml(
        **BASE,
        nvmlDeviceGetName=b"A100 MIG",
        nvmlDeviceGetMemoryInfo=SimpleNamespace(used=2**30, total=8 * 2**30),
        nvmlDeviceGetTemperature=51,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    devices = Devices()
    for _ in range(3):
        found = {name: value for name, value in devices.sample().items() if name.startswith("gpu")}
    assert devices.names == ["A100 MIG"] * 2
    assert found == {
        f"gpu{index}/{name}": value
        for index in (0, 1)
        for name, value in (("memory_gib", 1.0), ("memory_total_gib", 8.0), ("temperature_celsius", 51.0))
    }
    assert module.asked.count("nvmlDeviceGetUtilizationRates") == 2, "once for each GPU"


def test_a_whole_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = iter(range(0, 10**9, 1024 * 1024))
    module = nvml(
        **{**BASE, "nvmlDeviceGetCount": 1},
        nvmlDeviceGetName="H100",
        nvmlDeviceGetUtilizationRates=SimpleNamespace(gpu=97, memory=40),
        nvmlDeviceGetMemoryInfo=SimpleNamespace(used=60 * 2**30, total=80 * 2**30),
        nvmlDeviceGetPowerUsage=650_000,
        nvmlDeviceGetEnforcedPowerLimit=700_000,
        nvmlDeviceGetTemperature=66,
        nvmlDeviceGetClockInfo=1755,
        nvmlDeviceGetMaxClockInfo=1980,
        nvmlDeviceGetCurrentClocksEventReasons=0x04 | 0x01,
        nvmlDeviceGetTotalEccErrors=0,
        nvmlDeviceGetRemappedRows=(1, 2, 0, 0),
        nvmlDeviceGetPcieThroughput=2048,
        nvmlDeviceGetFieldValues=lambda handle, fields: [
            SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(ullVal=next(moved)))
        ],
        nvmlDeviceGetComputeRunningProcesses=[SimpleNamespace(pid=1, usedGpuMemory=None)],
        nvmlEventSetCreate="events",
        nvmlDeviceRegisterEvents=None,
        nvmlDeviceGetUUID="GPU-1",
    )
    xids = [SimpleNamespace(device="gpu0", eventData=79)]

    def wait(events: object, timeout: int) -> object:
        if not xids:
            raise Refused("timeout")
        return xids.pop()

    module.__dict__["nvmlEventSetWait_v2"] = wait
    monkeypatch.setitem(sys.modules, "pynvml", module)
    devices = Devices()
    time.sleep(0.01)
    xids.append(SimpleNamespace(device="gpu0", eventData=48))
    found = devices.sample()
    assert found["gpu0/utilization"] == 0.97
    assert found["gpu0/power_watts"] == 650
    assert found["gpu0/pcie_sent_mib_s"] == 2
    assert found["gpu0/remapped_rows"] == 3
    assert found["gpu0/nvlink_received_mib_s"] > 0
    assert throttle_words(found["gpu0/throttle"]) == "power cap"
    assert found["gpu0/xid"] == 48
    assert "gpu0/xid" not in devices.sample(), "a fault is told once"
    assert devices.processes()[0].pid == 1


def test_only_visible_gpus_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {**BASE, "nvmlDeviceGetCount": 8, "nvmlDeviceGetHandleByUUID": lambda uuid: uuid}
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**answers))
    assert Devices(visible="3,5,9")._handles == ["gpu3", "gpu5"]
    assert Devices(visible="GPU-abc")._handles == ["GPU-abc"]
    assert Devices(visible="")._handles == []
    assert len(Devices()._handles) == 8
