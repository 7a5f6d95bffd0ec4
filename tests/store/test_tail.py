import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.record_writer import RecordWriter

from toolkit.store.tail import EventTail, Series, read_scalars
from toolkit.store.tfevents import EventWriter

TAGS = [f"train/metric_{index}" for index in range(10)]


def assert_equals_tensorboard(folder: Path) -> None:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    ours = read_scalars(folder)
    theirs = accumulator.Tags()["scalars"]
    assert {tag for tag, series in ours.items() if len(series)} == {
        tag for tag in theirs if accumulator.Scalars(tag)
    }
    for tag in theirs:
        points = accumulator.Scalars(tag)
        assert ours[tag].steps.tolist() == [point.step for point in points]
        assert ours[tag].wall.tolist() == [point.wall_time for point in points]
        values = np.array([point.value for point in points], np.float32)
        np.testing.assert_array_equal(ours[tag].values, values)


def write_run(folder: Path, attempts: list[tuple[int, int]], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for start, end in attempts:
        writer = EventWriter(folder, start)
        for step in range(start, end):
            writer.scalars(step, dict(zip(TAGS, rng.normal(size=10), strict=True)))
            if step % 7 == 0:
                writer.scalars(step, {"val/loss": rng.normal(), "val/bits_per_byte": float("nan")})
            if step % 11 == 0:
                writer.text(step, "samples", "x" * step)
        writer.close()


def test_a_run_with_resumes_equals_tensorboards_reading(tmp_path: Path) -> None:
    write_run(tmp_path, [(0, 300), (120, 150), (150, 400), (0, 20), (17, 200)])
    assert_equals_tensorboard(tmp_path)
    lost = read_scalars(tmp_path)[TAGS[0]].lost
    assert [(int(points.steps[0]), len(points.steps)) for points in lost] == [(120, 180), (0, 400), (17, 3)]


shapes = st.fixed_dictionaries(
    {
        "step": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300),
        "wall": st.none() | st.floats(0, 4e9),
        "values": st.lists(st.tuples(st.sampled_from(["a", "bb", "ä/c"]), st.floats(width=32)), max_size=3),
        "start": st.sampled_from([False] * 9 + [True]),
        "repeat": st.integers(1, 5),
        "more": st.booleans(),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(shapes, max_size=12))
def test_files_of_other_writers_equal_tensorboards_reading(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("events")
    path = folder / "events.out.tfevents.1.host"
    with path.open("wb") as file:
        record = RecordWriter(file)
        record.write(Event(wall_time=1, file_version="brain.Event:2").SerializeToString())
        for shape in written:
            event = Event(step=shape["step"], wall_time=shape["wall"])
            if shape["start"]:
                event.session_log.status = SessionLog.START
            else:
                for tag, value in shape["values"]:  # type: ignore[attr-defined]
                    event.summary.value.append(Summary.Value(tag=tag, simple_value=value, node_name="node"))
                if shape["more"]:
                    event.summary.value.add(tag="histogram").histo.min = 1.0
                    event.source_metadata.writer = "somebody"
            for _ in range(int(str(shape["repeat"]))):
                record.write(event.SerializeToString())
    assert_equals_tensorboard(folder)


def test_scalars_of_tensorflow_2_are_read(tmp_path: Path) -> None:
    def event(step: int, tag: str, tensor: TensorProto, plugin: str = "scalars") -> bytes:
        one = Event(step=step, wall_time=step)
        value = one.summary.value.add(tag=tag, tensor=tensor)
        value.metadata.plugin_data.plugin_name = plugin
        return one.SerializeToString()

    with (tmp_path / "events.out.tfevents.1.host.v2").open("wb") as file:
        record = RecordWriter(file)
        for step in range(4):
            content = TensorProto(dtype=1, tensor_content=np.float32(step / 3).tobytes())
            record.write(event(step, "content", content))
            record.write(event(step, "list", TensorProto(dtype=1, float_val=[step + 0.5])))
            record.write(event(step, "double", TensorProto(dtype=2, double_val=[step * 1e-3])))
            record.write(event(step, "wide", TensorProto(dtype=2, double_val=[1e300])))
            record.write(event(step, "text", TensorProto(dtype=7, string_val=[b"abcd"]), "text"))
            record.write(event(step, "histogram", TensorProto(dtype=1, float_val=[1.0]), "histograms"))
    found = read_scalars(tmp_path)
    assert set(found) == {"content", "list", "double", "wide"}
    assert found["content"].values.tolist() == [float(np.float32(step / 3)) for step in range(4)]
    assert found["list"].values.tolist() == [0.5, 1.5, 2.5, 3.5]
    np.testing.assert_allclose(found["double"].values, [0, 1e-3, 2e-3, 3e-3], rtol=1e-6)
    assert np.isinf(found["wide"].values).all()


def test_metrics_written_together_share_their_steps(tmp_path: Path) -> None:
    write_run(tmp_path, [(0, 20_000)])
    tracemalloc.start()
    tail = EventTail(tmp_path)
    tail.poll()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    points_read = sum(len(series) for series in tail.series.values())
    assert kept / points_read < 20
    first, second = (tail.series[tag].points for tag in TAGS[:2])
    assert np.shares_memory(first.steps, second.steps)


def test_a_metric_that_leaves_its_group_keeps_its_points(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    rows = [
        {"a": 1, "b": 2},
        {"a": 3},
        {"b": 4, "c": 5},
        {"a": 6, "b": 7, "c": 8},
        {"c": 9},
        {"a": 10, "b": 11},
    ]
    for step, values in enumerate(rows):
        writer.scalars(step, values)
    writer.close()
    expected = {tag: [(step, row[tag]) for step, row in enumerate(rows) if tag in row] for tag in "abc"}
    assert points(read_scalars(tmp_path)) == expected
    assert_equals_tensorboard(tmp_path)


def test_a_reader_beside_the_poll_sees_whole_points(tmp_path: Path) -> None:
    """Step and value agree at any moment, through growth and resumes."""
    tail, stop, wrong = EventTail(tmp_path), threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            for series in list(tail.series.values()):
                steps, _, values = series.points
                if len(steps) != len(values) or not np.array_equal(steps, values.astype(np.int64)):
                    wrong.append((steps, values))

    reader = threading.Thread(target=look)
    reader.start()
    for start in (0, 300, 100, 500):
        writer = EventWriter(tmp_path, start)
        for step in range(start, start + 600):
            writer.scalars(step, {"a": step, "b": step})
            if step % 40 == 0:
                writer.flush()
                tail.poll()
        writer.close()
        tail.poll()
    stop.set()
    reader.join()
    assert not wrong


def small_file(folder: Path) -> bytes:
    writer = EventWriter(folder)
    for step in range(12):
        writer.scalars(step, {"a": step, "b": -step} if step % 3 else {"c": step}, wall_time=step)
    writer.close()
    return writer.path.read_bytes()


def points(series: dict[str, Series]) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, comparable: -1 for NaN."""
    return {
        tag: list(zip(one.steps.tolist(), np.nan_to_num(one.values, nan=-1).tolist(), strict=True))
        for tag, one in series.items()
        if len(one)
    }


def test_a_file_that_grows_from_any_byte_is_read_once(tmp_path: Path) -> None:
    data = small_file(tmp_path / "whole")
    expected = points(read_scalars(tmp_path / "whole"))
    for cut in range(len(data) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        path = folder / "events.out.tfevents.1.host"
        path.write_bytes(data[:cut])
        tail = EventTail(folder)
        tail.poll()
        before = points(tail.series)
        assert all(before[tag] == expected[tag][: len(before[tag])] for tag in before)
        with path.open("ab") as file:
            file.write(data[cut:])
        tail.poll()
        assert points(tail.series) == expected
        assert tail.poll() == set()


def test_a_tear_at_any_byte_costs_only_its_own_record(tmp_path: Path) -> None:
    data = small_file(tmp_path / "whole")
    expected = points(read_scalars(tmp_path / "whole"))
    ends = record_ends(data)
    for cut in range(ends[1], len(data)):
        torn = next(index for index, end in enumerate(ends) if end > cut)
        begin = ends[torn - 1]
        if cut == begin:
            continue
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "events.out.tfevents.1.host").write_bytes(data[:cut] + data[ends[torn] :])
        step = torn - 2
        kept = {tag: [point for point in line if point[0] != step] for tag, line in expected.items()}
        assert points(read_scalars(folder)) == kept, (cut, torn)


def test_a_damaged_byte_anywhere_costs_only_its_own_record(tmp_path: Path) -> None:
    data = small_file(tmp_path / "whole")
    expected = points(read_scalars(tmp_path / "whole"))
    ends = record_ends(data)
    folder = tmp_path / "damaged"
    folder.mkdir()
    for place in range(ends[1], len(data)):
        torn = next(index for index, end in enumerate(ends) if end > place)
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        (folder / "events.out.tfevents.1.host").write_bytes(damaged)
        found = points(read_scalars(folder))
        for tag, line in expected.items():
            others = {point for point in line if point[0] != torn - 2}
            assert others <= set(found.get(tag, [])), (place, torn)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "events.out.tfevents.1.host").write_bytes(data)
    assert EventTail(folder).poll() == set()


def record_ends(data: bytes) -> list[int]:
    ends, at = [], 0
    while at < len(data):
        at += int.from_bytes(data[at : at + 8], "little") + 16
        ends.append(at)
    return ends


def test_chunks_smaller_than_a_record_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, [(0, 200), (100, 300)])
    expected = points(read_scalars(tmp_path))
    for chunk in (13, 100, 1000, 4096):
        monkeypatch.setattr("toolkit.store.tail.CHUNK", chunk)
        assert points(read_scalars(tmp_path)) == expected


def test_changes_are_told_and_other_hosts_kept_apart(tmp_path: Path) -> None:
    tail = EventTail(tmp_path / "run")
    assert tail.poll() == set()
    writer = EventWriter(tmp_path / "run")
    other = EventWriter(tmp_path / "run" / "node-1")
    (tmp_path / "run" / "checkpoints").mkdir()
    assert tail.poll() == set()
    writer.scalars(1, {"train/loss": 1.0})
    other.scalars(1, {"system/gpu0/utilization": 0.5})
    writer.flush()
    other.flush()
    assert tail.poll() == {"train/loss", "node-1/system/gpu0/utilization"}
    assert list(tail.series) == ["train/loss"]
    assert tail.hosts["node-1"]["system/gpu0/utilization"].last == 0.5
    assert tail.poll() == set()
    writer.close()
    other.close()
    resumed = EventWriter(tmp_path / "run", start_step=1)
    assert tail.poll() == {"train/loss"}
    assert len(tail.series["train/loss"]) == 0
    resumed.close()


def test_columns_handed_out_do_not_change(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    tail = EventTail(tmp_path)
    for step in range(20):
        writer.scalars(step, {"a": step})
    writer.close()
    tail.poll()
    handed = tail.series["a"].values
    resumed = EventWriter(tmp_path, 5)
    for step in range(5, 40):
        resumed.scalars(step, {"a": -step})
    resumed.close()
    tail.poll()
    assert handed.tolist() == list(range(20))
    with pytest.raises(ValueError, match="read-only"):
        handed[0] = 1


def test_reading_a_long_run_is_ten_times_as_fast_as_tensorboard(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    for step in range(5000):
        writer.scalars(step, dict.fromkeys(TAGS, float(step)))
        if step % 50 == 0:
            writer.scalars(step, {"val/loss": 1.0})
    writer.close()
    ours = min(seconds(lambda: read_scalars(tmp_path)) for _ in range(3))
    assert ours < seconds(EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload) / 10


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
