"""What torch computes on: device, precision, peak speed, memory, and the seed of a micro-batch."""

import ctypes
import gc
import hashlib
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from toolkit.engine.errors import StageError
from toolkit.plan.plan import Plan

PEAK_BFLOAT16 = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 112e12,
    "T4": 65e12,
}
"""Dense multiply-add operations a second in half precision, from the makers' data sheets."""


PROCESS_STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
"""Writing 5 sets VmHWM, the peak resident size, back to the present one (proc(5))."""


@dataclass(frozen=True)
class Hardware:
    """Where a stage computes, and in which precision."""

    device: torch.device
    precision: Literal["bfloat16", "float32"]

    @classmethod
    def of(cls, plan: Plan, local_rank: int = 0) -> "Hardware":
        """The plan's device and precision; of several GPUs that of the local rank. Raises StageError when
        torch can't use it."""
        several = plan.device == "cuda" and local_rank > 0
        return cls(_existing(f"cuda:{local_rank}" if several else plan.device), plan.precision)

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def peak_flops(self) -> float:
        """FLOPs a second: from the data sheet on known GPUs, else measured by matrix products."""
        for part, peak in PEAK_BFLOAT16.items():
            if self.device.type == "cuda" and self.precision == "bfloat16" and part in self.name:
                return peak
        return self._measure_peak()

    def _measure_peak(self) -> float:
        size = 8192 if self.device.type == "cuda" else 1024
        a = torch.randn(size, size, device=self.device).to(self.dtype)
        fastest = float("inf")
        for _ in range(6):
            self.synchronize()
            start = time.perf_counter()
            _ = a @ a
            self.synchronize()
            fastest = min(fastest, time.perf_counter() - start)
        return float(2 * size**3 / fastest)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget_peak_memory(self) -> None:
        """Begin the measurement of the peak here, with what earlier phases freed given back to the system."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif sys.platform == "linux":
            gc.collect()
            with suppress(AttributeError):  # a C library other than glibc
                ctypes.CDLL(None).malloc_trim(0)
            with suppress(OSError):  # some containers forbid it: the peak is then the whole process's
                CLEAR_REFS.write_text("5")

    def peak_memory(self) -> int:
        """Bytes at the highest: of the device's allocator on a GPU, of the whole process on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if sys.platform == "linux":
            for line in PROCESS_STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def seed_micro_batch(seed: int, step: int, micro: int) -> None:
    """Seed torch's default generators from (seed, step, index of the micro-batch in the global batch)."""
    digest = hashlib.blake2b(f"{seed}/{step}/{micro}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def _existing(device: str) -> torch.device:
    chosen = torch.device(device)
    there = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": (chosen.index or 0) < torch.cuda.device_count(),
    }
    if not there[chosen.type]:
        raise StageError(
            f'device "{device}" can not be used by torch {torch.__version__}, which sees '
            f"{torch.cuda.device_count()} CUDA devices. Use --device cpu, or install a build of torch for it."
        )
    return chosen
