"""What one rank finds in its gradients, both act on alike; resumed through it, the run is the same."""

import shutil
from pathlib import Path

import pytest
from harness import ROOT, Bench, kill

pytestmark = pytest.mark.long
RECOVERY = (
    "train.recovery.on_spike=rollback",
    "train.recovery.on_nonfinite=skip",
    "train.recovery.window=12",
    "train.recovery.rollback_every=10",
    "train.optimizer.kind=adamw",
)


class Poisoned(Bench):
    """A bench whose workers spoil the gradients of batches 12 and 33 on the second rank."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.copy(ROOT / "tests/engine/poison.py", folder / "sitecustomize.py")

    @property
    def environment(self) -> dict[str, str]:
        given = super().environment
        poison = {"TK_TEST_POISON": "12=nan,33=1e6", "TK_TEST_POISON_RANK": "1"}
        return given | poison | {"PYTHONPATH": f"{self.folder}:{given['PYTHONPATH']}"}


def test_two_ranks_pass_over_the_same_batches(tmp_path: Path) -> None:
    bench = Poisoned(tmp_path / "bench")
    bench.run("whole", "--nproc", "2", *RECOVERY)
    found = [(event["batch"], event["back_to"]) for event in bench.events("whole", "skipped")]
    # Batch 33 is met at step 32, as batch 12 was passed over.
    assert found == [(12, None), (33, 30)]
    for step in (33, 36):
        process = bench.start("killed", "--nproc", "2", *RECOVERY)
        bench.wait_for_step("killed", step, process)
        kill(bench.rank("killed", 0).pid)
        process.communicate(timeout=60)
    bench.run("killed", "--nproc", "2", *RECOVERY)
    assert len(bench.events("killed", "resumed")) == 2
    bench.assert_equal("killed", "whole")
