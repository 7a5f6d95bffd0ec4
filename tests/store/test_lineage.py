"""The graph of runs, read from their folders alone."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.store.checkpoints import CheckpointStore
from toolkit.store.errors import UnknownCheckpoint
from toolkit.store.holdings import holdings
from toolkit.store.lineage import Graph, find_id, history, locate, read_graph
from toolkit.store.manifest import Checkpoint, Parent
from toolkit.store.runs import RunFolder
from toolkit.store.status import Best, Status, write_status


def train(
    root: Path,
    name: str,
    *,
    parent: Checkpoint | None = None,
    of: str = "",
    scratch: bool = False,
    steps: tuple[int, ...] = (10, 20),
) -> list[Checkpoint]:
    """A run as the engine leaves it, each step at 100 FLOPs and 2 seconds."""
    run = RunFolder(root, *name.split("/"))
    run.create()
    record = None
    if parent is not None:
        record = {"run": of, "checkpoint": parent.id, "step": parent.step, "fingerprint": "f" * 64}
        record["flops"] = float(parent.info["flops"])
    task = {"kind": "classify" if parent else "causal_lm", "start": "scratch" if scratch else "parent"}
    run.plan.write_text(json.dumps({"name": run.name, "stage": run.stage, "task": task, "parent": record}))
    made: list[Checkpoint] = []
    for step in steps:
        if made:
            parents = [Parent(made[-1].id, "previous")]
        else:
            parents = [Parent(parent.id, "shape" if scratch else "init")] if parent else []
        info = {
            "run": name,
            "flops": 100.0 * step,
            "seconds": 2.0 * step,
            "metrics": {"val/accuracy": step / 100},
            "criterion": {"metric": "val/accuracy", "higher": True},
        }
        made.append(CheckpointStore(run).commit(step, _writer(name), info=info, parents=parents))
    best = Best(metric="val/accuracy", value=steps[-1] / 100, step=steps[-1])
    write_status(run, Status(state="finished", step=steps[-1], best=best))
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A pretraining, a fine-tune of its step 10, one of that, and one from scratch."""
    root = tmp_path / "runs"
    pretrain = train(root, "gpt/pretrain")
    chat = train(root, "gpt/chat", parent=pretrain[0], of="gpt/pretrain")
    train(root, "gpt/polite", parent=chat[1], of="gpt/chat", steps=(5,))
    train(root, "gpt/scratch", parent=pretrain[1], of="gpt/pretrain", scratch=True)
    return root


def drawn(graph: Graph) -> list[str]:
    return ["  " * depth + node.key for node, depth in graph.walk()]


def test_the_tree_with_scores_and_what_they_cost(root: Path) -> None:
    graph = read_graph(root)
    assert drawn(graph) == ["gpt/pretrain", "  gpt/chat", "    gpt/polite", "  gpt/scratch"]
    polite = graph.nodes["gpt/polite"]
    assert polite.best == Best(metric="val/accuracy", value=0.05, step=5)
    assert (polite.own.flops, polite.own.seconds) == (500, 10)
    # 5 of its own, all 20 of its parent, and the 10 that the parent took over.
    assert (polite.ancestry.flops, polite.ancestry.seconds) == (3500, 70)
    scratch = graph.nodes["gpt/scratch"]
    assert scratch.origin
    assert scratch.origin.role == "shape"
    assert scratch.ancestry == scratch.own
    assert [node.key for node in graph.above("gpt/polite")] == ["gpt/pretrain", "gpt/chat"]
    assert [node.key for node, _ in graph.walk("gpt/chat")] == ["gpt/chat", "gpt/polite"]


def test_a_moved_parent_is_found_by_its_checkpoint(root: Path) -> None:
    (root / "gpt" / "pretrain").rename(root / "gpt" / "base")
    graph = read_graph(root)
    assert drawn(graph) == ["gpt/base", "  gpt/chat", "    gpt/polite", "  gpt/scratch"]
    assert graph.nodes["gpt/base"].born_as == "gpt/pretrain"
    assert graph.nodes["gpt/base"].copy_of is None
    assert graph.nodes["gpt/polite"].ancestry.seconds == 70


def test_a_copy_stands_beside_what_it_copies(root: Path) -> None:
    shutil.copytree(root / "gpt" / "pretrain", root / "a_copy" / "pretrain")
    shutil.copytree(root / "gpt" / "chat", root / "a_copy" / "chat")
    graph = read_graph(root)
    assert graph.nodes["a_copy/pretrain"].copy_of == "gpt/pretrain"
    assert graph.nodes["gpt/pretrain"].copy_of is None
    # Children stay with the run that they name as long as it holds what they came from.
    assert graph.nodes["a_copy/chat"].parent == "gpt/pretrain"
    shutil.rmtree(root / "gpt" / "pretrain")
    graph = read_graph(root)
    assert graph.nodes["gpt/chat"].parent == "a_copy/pretrain"


def test_a_runs_folder_elsewhere_tells_the_same(root: Path, tmp_path: Path) -> None:
    before = drawn(read_graph(root))
    shutil.copytree(root, tmp_path / "elsewhere")
    shutil.rmtree(root)
    assert drawn(read_graph(tmp_path / "elsewhere")) == before


def test_a_missing_parent_is_named_with_what_its_child_knows(root: Path) -> None:
    first = read_graph(root).nodes["gpt/chat"].checkpoint
    shutil.rmtree(root / "gpt" / "pretrain")
    graph = read_graph(root)
    missing = "gpt/pretrain (ffffffff)"
    assert drawn(graph) == [missing, "  gpt/chat", "    gpt/polite", "  gpt/scratch"]
    node = graph.nodes[missing]
    assert (node.run, node.state, node.ancestry.flops) == (None, "missing", 1000)
    assert graph.nodes["gpt/polite"].ancestry.flops == 3500
    assert graph.nodes["gpt/polite"].ancestry.seconds is None
    assert first
    gone = history(root, first)[-1]
    assert (gone.checkpoint, gone.run) == (None, None)
    assert gone.origin
    assert str(gone.origin) == f"gpt/pretrain step 10 {gone.id[:12]}"


def test_a_replaced_parent_is_not_taken_for_the_one_before(root: Path) -> None:
    shutil.rmtree(root / "gpt" / "pretrain")
    train(root, "gpt/pretrain", steps=(30,))
    assert read_graph(root).nodes["gpt/chat"].parent == "gpt/pretrain (ffffffff)"


def test_pruned_and_damaged_checkpoints_keep_their_place(root: Path) -> None:
    store = CheckpointStore(RunFolder(root, "gpt", "chat"))
    old = store.list()[0]
    train(root, "late/chat", parent=old, of="gpt/chat")
    (store.path / "pruned").mkdir()
    shutil.move(old.path / "MANIFEST.json", store.path / "pruned" / f"{old.id}.json")
    shutil.rmtree(old.path)
    graph = read_graph(root)
    assert graph.nodes["late/chat"].parent == "gpt/chat"
    assert graph.nodes["late/chat"].ancestry.seconds == 40 + 20 + 20
    (store.path / "step-00000020" / "MANIFEST.json").write_text("{}")
    assert read_graph(root).nodes["gpt/chat"].own.flops is None


def test_a_history_goes_on_beyond_what_was_set_aside(root: Path) -> None:
    old, new = CheckpointStore(RunFolder(root, "gpt", "chat")).list()
    old.path.rename(old.path.with_name(f".bad-{old.path.name}"))
    told = {ancestor.id: ancestor for ancestor in history(root, new.id)}
    assert not told[old.id].kept
    assert len(told) == 3, "the parent of the damaged one is told, too"
    assert read_graph(root).history(new.id) == list(told.values())
    assert read_graph(root).history("0" * 64) == []


def test_what_a_run_has_of_its_checkpoints(root: Path) -> None:
    run = RunFolder(root, "gpt", "many")
    made = train(root, "gpt/many", steps=(1, 2, 3, 4, 5))
    assert [item.step for item in CheckpointStore(run).prune(last=2, best=0)] == [1, 2, 3]
    aside = made[3].path.rename(made[3].path.with_name(".bad-step-00000004"))
    (made[4].path / "MANIFEST.json").write_text("{}")
    told = [(held.step, held.state, held.checkpoint and held.checkpoint.id) for held in holdings(run)]
    assert told == [
        *((step, "deleted", made[step - 1].id) for step in (1, 2, 3)),
        (4, "corrupt", made[3].id),
        (5, "corrupt", None),
    ]
    (aside / "MANIFEST.sha256").unlink()
    assert holdings(run)[3].checkpoint is None
    assert holdings(RunFolder(root, "nobody")) == []


def test_a_circle_ends(root: Path) -> None:
    chat = CheckpointStore(RunFolder(root, "gpt", "chat")).list()[-1]
    plan = RunFolder(root, "gpt", "pretrain").plan
    record = {"run": "gpt/chat", "checkpoint": chat.id, "step": 20, "fingerprint": "e" * 64, "flops": 1.0}
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "parent": record}))
    assert len(drawn(read_graph(root))) == 4


def test_checkpoints_are_found_by_the_beginning_of_their_id(root: Path) -> None:
    checkpoint = CheckpointStore(RunFolder(root, "gpt", "chat")).list()[0]
    assert find_id(root, checkpoint.id[:10]) == checkpoint.id
    assert find_id(root, "0" * 12) is None
    found = locate(root, checkpoint.id)
    assert found
    assert found.path == checkpoint.path
    with pytest.raises(UnknownCheckpoint, match="Write more of the id"):
        find_id(root, "")


def test_five_hundred_runs_take_less_than_a_second(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    pretrain = train(root, "gpt/pretrain")
    train(root, "many/run-0", parent=pretrain[-1], of="gpt/pretrain")
    for number in range(1, 500):
        shutil.copytree(root / "many" / "run-0", root / "many" / f"run-{number}")
    fastest = float("inf")
    for _ in range(3):
        begun = time.process_time()
        graph = read_graph(root)
        fastest = min(fastest, time.process_time() - begun)
    assert len(graph.children("gpt/pretrain")) == 500
    assert fastest < 1


def _writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "w").write_text(text)

    return write
