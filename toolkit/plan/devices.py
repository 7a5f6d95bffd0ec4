"""What the machine is doing: counters of processor, memory, disk, network and GPUs, by name.

GPUs are read through NVML where nvidia-ml-py is installed. Each counter is asked for on its own, since
containers, MIG and old cards refuse some: what is refused once is left out from then on.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

MIB, GIB = 2**20, 2**30
THROTTLES = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}
"""Bits of `gpu0/throttle` that slow a GPU down, as in nvml.h; idle and application clocks are none."""


class GPUProcess(NamedTuple):
    """A process on a GPU; bytes of GPU memory where the driver tells."""

    gpu: int
    pid: int
    name: str
    memory: int | None


def throttle_words(mask: float) -> str:
    """The reasons in a value of `gpu0/throttle`; empty when nothing slows the GPU."""
    return ", ".join(name for bit, name in THROTTLES.items() if int(mask) & bit)


@dataclass
class _Rates:
    """Counters that only grow, as amounts a second."""

    _last: dict[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, name: str, total: float) -> float | None:
        now = time.monotonic()
        before = self._last.get(name)
        self._last[name] = now, total
        if before is None or now <= before[0]:
            return None
        return max(total - before[1], 0.0) / (now - before[0])


class Devices:
    """Reads the counters of this machine. Shares are of 1, memory in GiB, rates in MiB a second."""

    def __init__(self, folder: str | os.PathLike[str] = ".", visible: str | None = None) -> None:
        self.folder = folder
        """Whose disk's free space is watched."""
        self.visible = visible
        """The GPUs to read, as CUDA_VISIBLE_DEVICES names them; None for all."""
        self.names: list[str] = []
        """Of the GPUs."""
        self.missing = ""
        """Why there are no GPU counters, in words."""
        self._rates = _Rates()
        self._refused: set[str] = set()
        self._nvml: ModuleType | None = None
        self._handles: list[Any] = []
        self._events: Any = None
        self._xids: dict[int, int] = {}
        self._open()
        self.sample()  # rates begin here

    def sample(self) -> dict[str, float]:
        """The counters now, by names such as `cpu/utilization` and `gpu0/power_watts`. Raises nothing."""
        found = {name: value for name, value in self._host() if value is not None}
        self._note_xids()
        for index in range(len(self._handles)):
            found.update(
                (f"gpu{index}/{name}", value) for name, value in self._gpu(index) if value is not None
            )
        return found

    def processes(self) -> list[GPUProcess]:
        """Who computes on the GPUs. Empty where that can't be told."""
        found = []
        for index, handle in enumerate(self._handles):
            running = self._ask(f"processes{index}", "nvmlDeviceGetComputeRunningProcesses", handle) or []
            found += [GPUProcess(index, one.pid, _name(one.pid), one.usedGpuMemory) for one in running]
        return found

    def close(self) -> None:
        """Let go of NVML."""
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
        self._nvml, self._handles = None, []

    def _open(self) -> None:
        try:
            import pynvml
        except ImportError:
            self.missing = "nvidia-ml-py is not installed"
            return
        try:
            pynvml.nvmlInit()
            self._nvml = pynvml
            for which in self._chosen(pynvml.nvmlDeviceGetCount()):
                by_uuid = isinstance(which, str)
                find = pynvml.nvmlDeviceGetHandleByUUID if by_uuid else pynvml.nvmlDeviceGetHandleByIndex
                self._handles.append(find(which))
        except pynvml.NVMLError as error:
            self.missing = f"no NVML: {error}"
            return
        for index, handle in enumerate(self._handles):
            name = self._ask(f"name{index}", "nvmlDeviceGetName", handle) or "GPU"
            self.names.append(name.decode() if isinstance(name, bytes) else str(name))
        with suppress(pynvml.NVMLError, AttributeError):
            events = pynvml.nvmlEventSetCreate()
            for handle in self._handles:
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
            self._events = events

    def _chosen(self, count: int) -> list[int] | list[str]:
        if self.visible is None:
            return list(range(count))
        named = [part.strip() for part in self.visible.split(",") if part.strip()]
        if all(part.isdecimal() for part in named):
            return [int(part) for part in named if int(part) < count]
        return named

    def _ask(self, key: str, name: str, *arguments: Any, **options: Any) -> Any:
        """The answer of an NVML function; None where it is refused, now and from then on."""
        if self._nvml is None or key in self._refused:
            return None
        try:
            return getattr(self._nvml, name)(*arguments, **options)
        except (self._nvml.NVMLError, AttributeError, TypeError):
            self._refused.add(key)
            return None

    def _host(self) -> Iterator[tuple[str, float | None]]:
        import psutil

        yield "cpu/utilization", psutil.cpu_percent() / 100
        memory = psutil.virtual_memory()
        yield "memory/used_gib", (memory.total - memory.available) / GIB
        yield "memory/total_gib", memory.total / GIB
        with suppress(OSError):
            yield "disk/free_gib", psutil.disk_usage(os.fspath(self.folder)).free / GIB
        with suppress(OSError, RuntimeError):
            if disk := psutil.disk_io_counters():
                yield "disk/read_mib_s", self._rate("disk/read", disk.read_bytes)
                yield "disk/written_mib_s", self._rate("disk/written", disk.write_bytes)
        with suppress(OSError, RuntimeError):
            if network := psutil.net_io_counters():
                yield "network/received_mib_s", self._rate("network/received", network.bytes_recv)
                yield "network/sent_mib_s", self._rate("network/sent", network.bytes_sent)

    def _rate(self, name: str, total: float) -> float | None:
        rate = self._rates.of(name, total)
        return None if rate is None else rate / MIB

    def _gpu(self, index: int) -> Iterator[tuple[str, float | None]]:
        handle, nvml = self._handles[index], self._nvml
        assert nvml is not None

        def ask(name: str, *arguments: Any, scale: float = 1.0) -> float | None:
            value = self._ask(f"{index}{name}{arguments}", name, handle, *arguments)
            return None if value is None else float(value) * scale

        usage = self._ask(f"{index}utilization", "nvmlDeviceGetUtilizationRates", handle)
        if usage is not None:
            yield "utilization", usage.gpu / 100
            yield "memory_utilization", usage.memory / 100
        memory = self._ask(f"{index}memory", "nvmlDeviceGetMemoryInfo", handle)
        if memory is not None:
            yield "memory_gib", memory.used / GIB
            yield "memory_total_gib", memory.total / GIB
        yield "power_watts", ask("nvmlDeviceGetPowerUsage", scale=1e-3)
        yield "power_limit_watts", ask("nvmlDeviceGetEnforcedPowerLimit", scale=1e-3)
        yield "temperature_celsius", ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU)
        yield "sm_clock_mhz", ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)
        yield "sm_clock_max_mhz", ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM)
        reasons = self._first(
            index, "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
        )
        if reasons is not None:
            yield "throttle", float(int(reasons) & sum(THROTTLES))
        yield "ecc_uncorrected", ask("nvmlDeviceGetTotalEccErrors", 1, 0)
        rows = self._ask(f"{index}rows", "nvmlDeviceGetRemappedRows", handle)
        if rows is not None:
            yield "remapped_rows", float(rows[0] + rows[1])
        yield "pcie_received_mib_s", ask("nvmlDeviceGetPcieThroughput", 1, scale=1 / 1024)
        yield "pcie_sent_mib_s", ask("nvmlDeviceGetPcieThroughput", 0, scale=1 / 1024)
        yield from self._nvlink(index)
        if index in self._xids:
            yield "xid", float(self._xids.pop(index))

    def _first(self, index: int, *names: str) -> Any:
        """The answer of the first function that the installed binding and the driver both know."""
        for name in names:
            answer = self._ask(f"{index}{name}", name, self._handles[index])
            if answer is not None:
                return answer
        return None

    def _nvlink(self, index: int) -> Iterator[tuple[str, float | None]]:
        nvml = self._nvml
        for name, field_name in (
            ("nvlink_received_mib_s", "NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX"),
            ("nvlink_sent_mib_s", "NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX"),
        ):
            identity = getattr(nvml, field_name, None)
            key = f"{index}{name}"
            if identity is None:
                continue
            # Scope of all ones: the sum over the links.
            values = self._ask(
                key, "nvmlDeviceGetFieldValues", self._handles[index], [(identity, 0xFFFFFFFF)]
            )
            if values is None:
                continue
            if values[0].nvmlReturn != 0:
                self._refused.add(key)
                continue
            rate = self._rates.of(key, float(values[0].value.ullVal))
            yield name, None if rate is None else rate / 1024

    def _note_xids(self) -> None:
        if self._events is None or self._nvml is None:
            return
        wait: Callable[..., Any] | None = getattr(self._nvml, "nvmlEventSetWait_v2", None)
        for _ in range(16):
            try:
                event = wait(self._events, 0) if wait else None
            except self._nvml.NVMLError:
                return  # none is waiting
            if event is None:
                return
            with suppress(self._nvml.NVMLError):
                uuid = self._nvml.nvmlDeviceGetUUID(event.device)
                ours = [self._nvml.nvmlDeviceGetUUID(handle) for handle in self._handles]
                self._xids[ours.index(uuid)] = int(event.eventData)


def _name(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "?"
