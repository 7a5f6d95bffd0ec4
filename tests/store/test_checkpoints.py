import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.store.checkpoints import CheckpointStore, find_checkpoint
from toolkit.store.children import note_child
from toolkit.store.errors import (
    BadName,
    CorruptCheckpoint,
    DiskFull,
    LeaseLost,
    NoGoodCheckpoint,
    StoreError,
    UnknownCheckpoint,
)
from toolkit.store.events import append_event
from toolkit.store.lease import hold
from toolkit.store.lineage import history
from toolkit.store.manifest import MANIFEST, Checkpoint, Parent
from toolkit.store.retention import to_keep
from toolkit.store.runs import RunFolder


def writer(step: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(random.Random(step).randbytes(3000))
        (folder / "state.json").write_text(json.dumps({"step": step}))
        (folder / "optimizer").mkdir()
        (folder / "optimizer" / "shard-0.safetensors").write_bytes(b"shard" * step)

    return write


def fill(run: RunFolder, *steps: int, losses: dict[int, float] | None = None) -> list[Checkpoint]:
    store = CheckpointStore(run)
    losses = losses or {}
    return [
        store.commit(step, writer(step), info={"metrics": {"val/loss": losses.get(step, 1 / step)}})
        for step in steps
    ]


def hidden(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints.glob(".*"))


def no_report(error: CorruptCheckpoint, path: Path) -> None:
    raise AssertionError(f"{error} set aside to {path}")


def test_a_commit_reads_back_as_it_was_written(run: RunFolder) -> None:
    store = CheckpointStore(run)
    parent = Parent("ab" * 32, "init")
    made = store.commit(500, writer(500), info={"metrics": {"val/loss": 1.5}, "tokens": 10}, parents=[parent])
    assert made.path == run.checkpoints / "step-00000500"
    assert CheckpointStore(run).newest_good(no_report) == made
    assert list(store.list()) == [made]
    assert (made.step, made.metrics, made.info["tokens"], made.parents) == (
        500,
        {"val/loss": 1.5},
        10,
        (parent,),
    )
    assert made.id == hashlib.sha256((made.path / MANIFEST).read_bytes()).hexdigest()
    files = ["model.safetensors", "optimizer/shard-0.safetensors", "state.json"]
    assert sorted(made.files) == files
    assert made.size == sum((made.path / name).stat().st_size for name in files)
    assert hidden(run) == []


def test_standard_tools_agree(run: RunFolder) -> None:
    (made,) = fill(run, 100)
    subprocess.run(["sha256sum", "-c", "MANIFEST.sha256"], cwd=made.path, check=True, capture_output=True)
    lines = "".join(f"{entry.sha256}  {name}\n" for name, entry in made.files.items())
    subprocess.run(["sha256sum", "-c"], cwd=made.path, input=lines.encode(), check=True, capture_output=True)


def test_the_id_commits_to_the_ancestry(run: RunFolder) -> None:
    def line(first: str) -> str:
        other = RunFolder(run.root, first)
        other.create()
        store = CheckpointStore(other)
        parent = store.commit(1, writer(1), info={"first": first})
        return store.commit(2, writer(2), info={}, parents=[Parent(parent.id, "previous")]).id

    assert line("a") != line("b")


def test_an_intact_checkpoint_of_the_step_is_kept_and_a_bad_one_replaced(run: RunFolder) -> None:
    (made,) = fill(run, 100)
    store = CheckpointStore(run)
    assert store.commit(100, lambda folder: pytest.fail("written again"), info={}) == made
    (made.path / "state.json").write_text("{}")
    again = CheckpointStore(run).commit(100, writer(100), info={"metrics": {"val/loss": 0.01}})
    assert again == made
    store.verify(again)
    assert hidden(run) == [".bad-step-00000100"]


def test_random_damage_is_found_and_passed_over(run: RunFolder, tmp_path: Path) -> None:
    old, new = fill(run, 100, 200)
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    chance = random.Random(7)
    for _ in range(150):
        damage(new.path, old.path, chance)
        store = CheckpointStore(run)
        with pytest.raises(CorruptCheckpoint):
            store.verify(new)
        told: list[tuple[str, str]] = []
        found = store.newest_good(lambda error, path, told=told: told.append((error.problem, path.name)))  # type: ignore[misc]
        assert found == old
        assert [name for _, name in told] == [".bad-step-00000200"]
        shutil.rmtree(run.path)
        shutil.copytree(copy, run.path)


def damage(new: Path, old: Path, chance: random.Random) -> None:
    """A flipped bit, a cut, an addition, a file missing, of another checkpoint, a link, a folder renamed."""
    path = chance.choice([path for path in sorted(new.rglob("*")) if path.is_file()])
    data = bytearray(path.read_bytes())
    kind = chance.choice(
        ["flip", "flip", "flip", "cut", "longer", "missing", "extra", "swap", "link", "rename"]
    )
    if kind == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    elif kind == "cut":
        path.write_bytes(data[: chance.randrange(len(data))])
    elif kind == "longer":
        path.write_bytes(bytes(data) + b"\0")
    elif kind == "missing":
        path.unlink()
    elif kind == "extra":
        (new / "more.bin").write_bytes(b"")
    elif kind == "swap":
        path.write_bytes((old / path.relative_to(new)).read_bytes())
    elif kind == "link":
        path.unlink()
        path.symlink_to(old / path.relative_to(new))
    elif kind == "rename":
        shutil.rmtree(new)
        shutil.copytree(old, new)


def test_damage_is_told_in_words(run: RunFolder) -> None:
    (made,) = fill(run, 100)
    store = CheckpointStore(run)
    weights = made.path / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    with pytest.raises(CorruptCheckpoint) as caught:
        store.verify(made)
    assert str(caught.value) == f"{made.path}: model.safetensors has 2999 bytes where 3000 were written"
    weights.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(CorruptCheckpoint, match=r"model\.safetensors is damaged: its sha256"):
        store.verify(made)
    weights.unlink()
    with pytest.raises(CorruptCheckpoint, match=r"model\.safetensors is missing"):
        store.verify(made)


def test_a_manifest_that_leads_elsewhere_is_refused(run: RunFolder) -> None:
    (made,) = fill(run, 100)
    for name in ("../../secret", "/etc/passwd", ""):
        fields = json.loads((made.path / MANIFEST).read_text())
        fields["files"][name] = {"size": 1, "sha256": "0" * 64}
        manifest = json.dumps(fields).encode()
        (made.path / MANIFEST).write_bytes(manifest)
        seal = f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n"
        (made.path / "MANIFEST.sha256").write_text(seal)
        with pytest.raises(NoGoodCheckpoint):
            CheckpointStore(run).newest_good(lambda error, path: None)
        (run.checkpoints / ".bad-step-00000100").rename(made.path)


def test_none_good_stops_for_good_instead_of_beginning_anew(run: RunFolder) -> None:
    assert CheckpointStore(run).newest_good(no_report) is None
    for made in fill(run, 100, 200):
        (made.path / "state.json").unlink()
    for _ in range(2):
        with pytest.raises(NoGoodCheckpoint) as caught:
            CheckpointStore(run).newest_good(lambda error, path: None)
        assert str(caught.value) == (
            "gpt_small/pretrain has 2 checkpoints and none is intact; "
            f"they are kept as {run.checkpoints}/.bad-*. "
            "Put an intact copy back there, or begin again with --replace."
        )


def test_retention_keeps_last_best_and_every(run: RunFolder) -> None:
    losses = {100: 3.0, 200: 1.0, 300: 2.0, 400: 2.5, 500: 2.6, 600: 2.7}
    fill(run, *losses, losses=losses)
    store = CheckpointStore(run)
    removed = store.prune(last=2, best=1, every=300)
    assert [item.step for item in removed] == [100, 400]
    assert [item.step for item in store.list()] == [200, 300, 500, 600]
    assert [item.step for item in store.pruned()] == [100, 400]
    assert [item.id for item in store.pruned()] == [item.id for item in removed]
    assert hidden(run) == []


def test_retention_never_takes_the_last_two_and_counts_only_good_ones(run: RunFolder) -> None:
    made = fill(run, 100, 200, 300, 400)
    (made[3].path / "state.json").write_text("{}")
    told = []
    removed = CheckpointStore(run).prune(last=0, best=0, on_bad=lambda error, path: told.append(path.name))
    assert [item.step for item in removed] == [100]
    assert [item.step for item in CheckpointStore(run).list()] == [200, 300]
    assert told == [".bad-step-00000400"]


def test_the_best_is_never_one_without_a_number(run: RunFolder) -> None:
    made = fill(run, 1, 2, 3, losses={1: float("nan"), 2: 5.0, 3: float("inf")})
    assert to_keep(made, last=0, best=1, every=None) == {2, 3}
    assert CheckpointStore(run).resolve("@best").step == 2


def test_selectors(run: RunFolder) -> None:
    append_event(run, "created")
    with pytest.raises(UnknownCheckpoint, match="has no checkpoint yet"):
        CheckpointStore(run).resolve("last")
    made = fill(run, 100, 200, 300, losses={100: 2.0, 200: 1.0, 300: 3.0})
    root = run.root
    for selector, step in [("", 300), ("@last", 300), ("@best", 200), ("@step_100", 100), ("@step-100", 100)]:
        assert find_checkpoint(f"gpt_small{selector}", root)[1].step == step
    assert find_checkpoint(f"gpt_small@{made[1].id[:8]}", root)[1] == made[1]
    with pytest.raises(UnknownCheckpoint) as caught:
        find_checkpoint("gpt_small@step_150", root)
    assert str(caught.value) == (
        "gpt_small/pretrain has no checkpoint @step_150. "
        "It has @step_100, @step_200, @step_300; @last and @best too."
    )
    with pytest.raises(BadName, match="does not select a checkpoint"):
        find_checkpoint("gpt_small@newest", root)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_and_leaves_no_debris(run: RunFolder, error: Exception) -> None:
    (old,) = fill(run, 100)

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half of it")
        raise error

    store = CheckpointStore(run)
    with pytest.raises(DiskFull, match=r"step 200 .* MiB free\)\. The earlier checkpoints are intact"):
        store.commit(200, write, info={})
    assert os.listdir(run.checkpoints) == [old.path.name]  # noqa: PTH208
    assert store.newest_good(no_report) == old


def test_a_full_file_system_of_its_own(run: RunFolder, tmp_path: Path) -> None:
    """The real thing where it may be mounted; the test above covers the rest."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("may not mount a file system here")
    try:
        full = RunFolder(small, "gpt_small")
        full.create()
        store = CheckpointStore(full)
        made = [store.commit(step, big(step), info={}) for step in (1, 2)]
        with pytest.raises(DiskFull):
            store.commit(3, big(3), info={})
        assert hidden(full) == []
        assert store.newest_good(no_report) == made[1]
        shutil.rmtree(made[0].path)
        assert store.commit(3, big(3), info={}).step == 3
    finally:
        subprocess.run(["umount", str(small)], check=True)


def big(step: int) -> Callable[[Path], None]:
    return lambda folder: (folder / "model").write_bytes(bytes([step]) * 90_000) and None


def test_a_lost_lease_stops_the_commit_before_it_shows(run: RunFolder) -> None:
    with hold(run) as lease:
        store = CheckpointStore(run)

        def write(folder: Path) -> None:
            writer(1)(folder)
            fields = json.loads(run.lease.read_text())
            run.lease.write_text(json.dumps({**fields, "nonce": "f" * 32}))

        with pytest.raises(LeaseLost):
            store.commit(1, write, info={}, before_rename=lease.check)
        assert list(run.checkpoints.iterdir()) == []
        # One who lost the lease before it began leaves the new holder's work alone.
        other = run.checkpoints / ".tmp-step-00000001-12ab34cd"
        other.mkdir()
        with pytest.raises(LeaseLost):
            store.commit(1, writer(1), info={}, before_rename=lease.check)
        assert other.is_dir()


def test_history_reaches_through_removed_checkpoints_and_other_runs(run: RunFolder) -> None:
    child = RunFolder(run.root, "gpt_small", "coder")
    child.create()
    for one in (run, child):
        append_event(one, "created")
    store = CheckpointStore(run)
    made: list[Checkpoint] = []
    for step in (1, 2, 3, 4):
        parents = [Parent(made[-1].id, "previous")] if made else [Parent("e" * 64, "init")]
        made.append(store.commit(step, writer(step), info={}, parents=parents))
    tuned = CheckpointStore(child).commit(1, writer(9), info={}, parents=[Parent(made[3].id, "init")])
    store.prune(last=2, best=0)
    line = history(run.root, tuned.id)
    assert [(one.role, one.depth, one.kept) for one in line] == [
        ("self", 0, True),
        ("init", 1, True),
        ("previous", 2, True),
        ("previous", 3, False),
        ("previous", 4, False),
        ("init", 5, False),
    ]
    assert [one.checkpoint.step if one.checkpoint else None for one in line] == [1, 4, 3, 2, 1, None]
    assert [str(one.run) for one in line[:2]] == ["gpt_small/coder", "gpt_small/pretrain"]
    with pytest.raises(UnknownCheckpoint):
        history(run.root, "0" * 64)


def test_discarding_leaves_the_manifests_and_what_others_came_from(run: RunFolder) -> None:
    made = fill(run, 10, 20, 30)
    run.plan.write_text("{}")
    child = RunFolder(run.root, "gpt_small", "chat")
    child.create()
    child.plan.write_text("{}")
    note_child(run, child, made[1].id)
    store = CheckpointStore(run)
    store.discard()
    assert [item.step for item in store.list()] == [20]
    assert [item.step for item in store.pruned()] == [10, 30]
    assert [item.id for item in history(run.root, made[0].id)] == [made[0].id]


def test_going_back_removes_what_came_later(run: RunFolder) -> None:
    made = fill(run, 5, 10, 12, 15)
    store = CheckpointStore(run)
    assert store.go_back(10) == made[1]
    assert [item.step for item in store.list()] == [5, 10]
    assert [item.step for item in store.pruned()] == [12, 15], "their manifests stay"
    again = store.commit(12, writer(99), info={"metrics": {}})
    assert again.id != made[2].id


def test_going_back_needs_an_intact_checkpoint_that_is_there(run: RunFolder) -> None:
    fill(run, 5, 10, 15)
    store = CheckpointStore(run)
    with pytest.raises(StoreError, match="should go back to step 8, and has no checkpoint of it"):
        store.go_back(8)
    (run.checkpoints / "step-00000010" / "state.json").write_text("{}")
    with pytest.raises(CorruptCheckpoint, match=r"state\.json"):
        store.go_back(10)
    assert len(store.list()) == 3


def test_what_another_run_came_from_is_not_gone_back_over(run: RunFolder) -> None:
    made = fill(run, 5, 10)
    child = RunFolder(run.root, "child")
    child.create()
    append_event(child, "created")
    note_child(run, child, made[1].id)
    with pytest.raises(StoreError, match="child/pretrain came from a later checkpoint"):
        CheckpointStore(run).go_back(5)
    assert len(CheckpointStore(run).list()) == 2


def test_the_checkpoint_to_go_back_to_is_kept(run: RunFolder) -> None:
    fill(run, 5, 10, 12, 14, 16)
    CheckpointStore(run).prune(last=2, best=0, back=5)
    assert [item.step for item in CheckpointStore(run).list()] == [10, 14, 16]
