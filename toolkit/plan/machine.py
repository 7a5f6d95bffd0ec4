"""The machine a plan is for: processor, memory and GPUs, found without torch."""

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Precision = Literal["bfloat16", "float32"]

# The kernels' speed depends on these; the rest of a processor's flags only make the key unstable.
_SPEED_FLAGS = ("amx_bf16", "avx2", "avx512_bf16", "avx512f", "bf16")
_BF16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}
_GPU_QUERY = "name,memory.total,memory.free,compute_cap"


class GPU(BaseModel):
    """An NVIDIA GPU; memory in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory: int
    free: int
    capability: tuple[int, int] | None = None
    """CUDA compute capability; bfloat16 multiplies fast from (8, 0) on."""


class Machine(BaseModel):
    """What the plan needs to know of a machine; memory in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    """`Linux`, `Darwin` or `Windows`."""
    architecture: str
    """`x86_64`, `arm64` …"""
    cpu: str
    cores: int
    """Usable by this process: affinity and container limits count."""
    flags: tuple[str, ...] = ()
    """The instruction sets that matter for speed, sorted."""
    memory: int
    available: int
    gpus: tuple[GPU, ...] = ()

    @classmethod
    def detect(cls) -> "Machine":
        """This machine, now. Takes a few milliseconds, and as long as `nvidia-smi` where there are GPUs."""
        import psutil

        cpu, flags = _cpu()
        memory = psutil.virtual_memory()
        limit, used = _container_memory()
        total = min(memory.total, limit) if limit else memory.total
        available = min(memory.available, total - used) if limit else memory.available
        return cls(
            system=platform.system(),
            architecture=platform.machine().lower(),
            cpu=cpu,
            cores=_usable_cores(),
            flags=flags,
            memory=total,
            available=max(available, 0),
            gpus=_gpus(),
        )

    @property
    def key(self) -> str:
        """Names the kind of machine: two of one kind measure the same speed, so probes are kept by it."""
        gpus = [f"{gpu.name} {round(gpu.memory / 2**30)}" for gpu in self.gpus]
        parts = [self.system, self.architecture, self.cpu, str(self.cores), *self.flags, *gpus]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
        name = gpus[0] if gpus else self.cpu
        return f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}-{self.cores}c-{digest}"

    @property
    def has_mps(self) -> bool:
        """Whether torch's Metal device can be there."""
        return self.system == "Darwin" and self.architecture == "arm64"

    def resolve_device(self, device: str, *, cuda_build: bool | None = None) -> str:
        """The device that `run.device` means here: `auto` takes CUDA, then Metal, then the CPU.

        Args:
            cuda_build: Whether the installed torch can use CUDA; None looks at its version.
        """
        if device != "auto":
            return device
        if self.gpus and (torch_has_cuda() if cuda_build is None else cuda_build):
            return "cuda"
        return "mps" if self.has_mps else "cpu"

    def resolve_precision(self, precision: str, device: str) -> Precision:
        """The number type that `run.precision` means on `device`: bfloat16 where it multiplies fast."""
        if precision != "auto":
            return "float32" if precision == "float32" else "bfloat16"
        if device.startswith("cuda"):
            gpu = self.gpu(device)
            fast = gpu is not None and (gpu.capability or (0, 0)) >= (8, 0)
        else:
            flags = set(self.flags)
            if "Intel" in self.cpu:
                flags.discard(
                    "avx512_bf16"
                )  # without AMX slower there than float32: measured 80 against 140 GFLOP/s
            fast = device == "cpu" and bool(_BF16_FLAGS.intersection(flags))
        return "bfloat16" if fast else "float32"

    def gpu(self, device: str) -> GPU | None:
        """The GPU of a device name such as `cuda` or `cuda:1`; None when there is none."""
        index = int(device.partition(":")[2] or 0)
        return self.gpus[index] if device.startswith("cuda") and index < len(self.gpus) else None

    def memory_of(self, device: str) -> int:
        """Bytes of memory of `device`; zero for a GPU that isn't here."""
        if device.startswith("cuda"):
            gpu = self.gpu(device)
            return gpu.memory if gpu else 0
        return self.memory


def torch_has_cuda() -> bool:
    """Whether the installed torch is built for CUDA, by its version; importing it would take a second."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_text("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def _cpu() -> tuple[str, tuple[str, ...]]:
    """Name and speed flags of the processor."""
    if platform.system() == "Darwin":
        name = _output(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
        return name or platform.processor() or platform.machine(), ()
    fields: dict[str, str] = {}
    for line in _read_text("/proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    found = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    family = [fields[key] for key in ("cpu family", "model") if key in fields]  # clouds hide the model's name
    return " ".join([name, *family]), tuple(flag for flag in _SPEED_FLAGS if flag in found)


def _container_memory() -> tuple[int | None, int]:
    """Limit and use in bytes of this process's control group; (None, 0) where none is set."""
    for limit_file, usage_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        limit = _read_text(limit_file).strip()
        if limit.isdigit():
            usage = _read_text(usage_file).strip()
            return int(limit), int(usage) if usage.isdigit() else 0
    return None, 0


def _gpus() -> tuple[GPU, ...]:
    """NVIDIA GPUs that this process may use; empty without a driver."""
    if platform.system() == "Darwin":
        return ()
    rows = _output(["nvidia-smi", f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"])
    return _visible([_gpu(row) for row in rows.splitlines() if row.count(",") >= 3])


def _gpu(row: str) -> GPU:
    """A row of `nvidia-smi`: name, total and free MiB, capability; fields it can't tell read `[N/A]`."""
    name, total, free, capability = (field.strip() for field in row.rsplit(",", 3))
    numbers = re.fullmatch(r"(\d+)\.(\d+)", capability)
    return GPU(
        name=name,
        memory=int(total) * 2**20 if total.isdigit() else 0,
        free=int(free) * 2**20 if free.isdigit() else 0,
        capability=(int(numbers[1]), int(numbers[2])) if numbers else None,
    )


def _visible(gpus: list[GPU]) -> tuple[GPU, ...]:
    """Those that CUDA_VISIBLE_DEVICES leaves, in its order; names other than indices leave all."""
    configured = os.environ.get("CUDA_VISIBLE_DEVICES")
    if configured is None:
        return tuple(gpus)
    indices = [part.strip() for part in configured.split(",") if part.strip()]
    if not all(re.fullmatch(r"-?\d+", index) for index in indices):
        return tuple(gpus)
    chosen: list[GPU] = []
    for index in map(int, indices):
        if not 0 <= index < len(gpus):
            break  # CUDA ignores everything from the first invalid index on
        chosen.append(gpus[index])
    return tuple(chosen)


def _output(command: list[str]) -> str:
    """What a command prints; empty when it isn't installed, fails or hangs."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
