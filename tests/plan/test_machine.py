"""What is found of a machine, by the real commands, and what follows from it."""

import os
from pathlib import Path

import psutil
import pytest
import torch

from toolkit.plan.machine import GPU, Machine

SMI = """#!/bin/sh
cat <<'ROWS'
NVIDIA H200, 143771, 143000, 9.0
Tesla, with a comma, 16384, 16000, 7.5
NVIDIA GB10, [N/A], [N/A], [N/A]
ROWS
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts an `nvidia-smi` first on the path that prints three GPUs."""
    file = tmp_path / "nvidia-smi"
    file.write_text(SMI)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return file


def test_this_machine():
    found = Machine.detect()
    assert found.cpu
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert 0 < found.available <= found.memory <= psutil.virtual_memory().total
    assert Machine.detect().key == found.key
    assert Machine.model_validate_json(found.model_dump_json()) == found


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="flags are read from /proc")
def test_flags_are_those_that_torch_sees():
    amx = torch.cpu._is_amx_tile_supported()
    # Intel's AVX-512 alone multiplies bfloat16 slower than float32.
    capable = amx or (torch.cpu._is_avx512_bf16_supported() and "Intel" not in Machine.detect().cpu)
    assert (Machine.detect().resolve_precision("auto", "cpu") == "bfloat16") == capable


def test_gpus_are_read_from_the_driver(smi):
    assert Machine.detect().gpus == (
        GPU(name="NVIDIA H200", memory=143771 * 2**20, free=143000 * 2**20, capability=(9, 0)),
        GPU(name="Tesla, with a comma", memory=16384 * 2**20, free=16000 * 2**20, capability=(7, 5)),
        GPU(name="NVIDIA GB10", memory=0, free=0, capability=None),
    )


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("", []),
        ("0", ["NVIDIA H200"]),
        ("2,0", ["NVIDIA GB10", "NVIDIA H200"]),
        ("1,9,0", ["Tesla, with a comma"]),
        ("-1", []),
    ],
)
def test_cuda_visible_devices_counts(smi, monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in Machine.detect().gpus] == names


def test_a_failing_driver_means_no_gpus(smi):
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, because it could, not, talk'\nexit 9\n")
    assert Machine.detect().gpus == ()


def test_key_tells_kinds_apart_and_forgets_what_changes_by_the_hour(machine, gpu_machine):
    assert machine.key == machine.model_copy(update={"available": 1, "memory": 2}).key
    others = [
        machine.model_copy(update={"cores": 4}),
        machine.model_copy(update={"cpu": "Test 2"}),
        machine.model_copy(update={"flags": ("avx2",)}),
        gpu_machine,
    ]
    assert len({machine.key, *(other.key for other in others)}) == 5
    assert gpu_machine.key.startswith("nvidia-h200-140-2c-")


def test_device(machine, gpu_machine):
    mac = machine.model_copy(update={"system": "Darwin", "architecture": "arm64"})
    assert machine.resolve_device("auto", cuda_build=True) == "cpu"
    assert gpu_machine.resolve_device("auto", cuda_build=True) == "cuda"
    assert gpu_machine.resolve_device("auto", cuda_build=False) == "cpu"
    assert gpu_machine.resolve_device("cpu", cuda_build=True) == "cpu"
    assert mac.resolve_device("auto") == "mps"
    assert machine.resolve_device("cuda:3") == "cuda:3"


def test_precision(machine, gpu_machine):
    old_cpu = machine.model_copy(update={"flags": ("avx2",)})
    turing = gpu_machine.gpus[0].model_copy(update={"capability": (7, 5)})
    old_gpu = machine.model_copy(update={"gpus": (turing,)})
    assert machine.resolve_precision("auto", "cpu") == "bfloat16"
    assert old_cpu.resolve_precision("auto", "cpu") == "float32"
    assert old_cpu.resolve_precision("bfloat16", "cpu") == "bfloat16"
    assert machine.resolve_precision("float32", "cpu") == "float32"
    assert gpu_machine.resolve_precision("auto", "cuda:0") == "bfloat16"
    assert old_gpu.resolve_precision("auto", "cuda") == "float32"
    assert gpu_machine.resolve_precision("auto", "cuda:1") == "float32"


def test_memory_is_the_devices_own(machine, gpu_machine):
    assert gpu_machine.memory_of("cuda") == 140 * 2**30
    assert gpu_machine.memory_of("cpu") == machine.memory
    assert machine.memory_of("cuda") == 0
