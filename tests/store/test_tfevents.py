import math
import struct
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import masked_crc32c as their_masked_crc32c

from toolkit.store.crc32c import crc32c, masked_crc32c
from toolkit.store.tail import read_scalars
from toolkit.store.tfevents import EventWriter

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from toolkit.store.tfevents import EventWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = EventWriter(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
failures = 0
for step in range(100):
    writer.scalars(step, {"train/loss": step})
    try:
        writer.flush()
    except OSError:
        failures += 1
print(failures, writer.path.stat().st_size, flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
writer.close()
"""


def events(path: Path) -> list[Event]:
    """As TensorBoard's own reader finds them, its checksums verified."""
    return [Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]


@given(st.binary(max_size=300))
def test_checksums_are_tensorboards(data: bytes) -> None:
    assert struct.unpack("<I", masked_crc32c(data)) == (their_masked_crc32c(data),)


def test_checksum_of_the_standard() -> None:
    """RFC 3720, B.4, and the catalogue's check value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63 - 1),
            st.dictionaries(st.text(min_size=1, max_size=200), st.floats(width=32), max_size=5),
            st.floats(0, 4e9),
        ),
        max_size=8,
    )
)
def test_tensorboard_reads_every_event(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, dict[str, float], float]]
) -> None:
    writer = EventWriter(tmp_path_factory.mktemp("events"), start_step=3)
    for step, values, wall in written:
        writer.scalars(step, values, wall)
    writer.close()
    version, start, *rest = events(writer.path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (3, SessionLog.START)
    assert len(rest) == len(written)
    for event, (step, values, wall) in zip(rest, written, strict=True):
        assert (event.step, event.wall_time) == (step, wall)
        read = {value.tag: value.simple_value for value in event.summary.value}
        assert read.keys() == values.keys()
        for tag, value in values.items():
            assert read[tag] == value or (math.isnan(read[tag]) and math.isnan(value))


def test_too_large_for_float32_is_infinite(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.scalars(1, {"up": 1e300, "down": -1e300})
    writer.close()
    values = {value.tag: value.simple_value for value in events(writer.path)[-1].summary.value}
    assert values == {"up": math.inf, "down": -math.inf}


def test_numpy_and_whole_numbers_are_taken(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.scalars(1, {"a": np.float32(0.1), "b": 3})
    writer.close()
    values = {value.tag: value.simple_value for value in events(writer.path)[-1].summary.value}
    assert values == {"a": float(np.float32(0.1)), "b": 3.0}


def test_text_is_shown_by_the_text_plugin(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.text(5, "samples", "def f():\n    return 'ü'")
    writer.close()
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    (tensor,) = accumulator.Tensors("samples")
    assert tensor.step == 5
    assert tensor.tensor_proto.string_val[0].decode() == "def f():\n    return 'ü'"
    assert accumulator.SummaryMetadata("samples").plugin_data.plugin_name == "text"


def test_a_resumed_run_is_one_clean_curve(tmp_path: Path) -> None:
    for start, end in [(0, 50), (30, 70), (60, 100)]:
        writer = EventWriter(tmp_path, start)
        for step in range(start, end):
            writer.scalars(step, {"train/loss": 1000 * start + step})
            if step % 10 == 9:
                writer.scalars(step, {"val/loss": 1000 * start + step})
        writer.close()
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    accumulator.Reload()
    expected = [1000 * (0 if step < 30 else 30 if step < 60 else 60) + step for step in range(100)]
    assert [point.value for point in accumulator.Scalars("train/loss")] == expected
    assert [point.value for point in accumulator.Scalars("val/loss")] == expected[9::10]


def test_files_sort_in_the_order_of_the_attempts(tmp_path: Path) -> None:
    """Even those of one second, and after the clock went back."""
    (tmp_path / "events.out.tfevents.4000000000.host.1").touch()
    made = []
    for _ in range(12):
        writer = EventWriter(tmp_path)
        writer.close()
        made.append(writer.path)
    assert made == sorted(made)
    assert min(made).name > "events.out.tfevents.4000000000.host.1"


def test_what_is_written_arrives_without_closing(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.scalars(1, {"train/loss": 2.0})
    writer.flush()
    assert read_scalars(tmp_path)["train/loss"].last == 2.0
    writer.close()
    writer.close()


def test_a_full_disk_tears_no_record_and_loses_none(
    tmp_path: Path, python: Callable[..., "Popen[str]"]
) -> None:
    process = python("-c", FULL_DISK, tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    failures, size = map(int, process.stdout.readline().split())
    assert failures > 50
    assert size <= 1000
    (path,) = tmp_path.iterdir()
    whole = [len(data) + 16 for data in RawEventFileLoader(str(path)).Load()]
    assert path.stat().st_size == sum(whole)
    process.stdin.write("\n")
    process.communicate()
    assert process.returncode == 0
    assert [event.step for event in events(path)][2:] == list(range(100))
