"""The plan that an attempt carries out, on other ranks than the one before."""

from pathlib import Path

from toolkit.engine.console import Console
from toolkit.engine.datasets import prepare_stage
from toolkit.engine.job import Job
from toolkit.engine.stage import settle
from toolkit.plan.plan import Plan
from toolkit.spec.spec import PRETRAIN
from toolkit.store.atomic import write_atomic


def settled(job: Job, world: int) -> Plan:
    """The plan on so many ranks, which the run then keeps."""
    job.run.create()
    dataset = prepare_stage(job.spec, PRETRAIN, None, None)
    with Console(job.run.console, quiet=True) as console:
        plan = settle(job, None, dataset, console, world)
    write_atomic(job.run.plan, plan.model_dump_json().encode())
    return plan


def test_every_rank_gets_rows_and_a_plan_that_gives_them_some_stays(make_job, tmp_path: Path) -> None:
    asked = make_job("ranks", 60, "train.batch=12 rows")
    job = asked.model_copy(
        update={
            "spec": asked.spec.model_copy(
                update={"run": asked.spec.run.model_copy(update={"micro_batch": None})}
            )
        }
    )
    assert [settled(job, world).micro_batch for world in (1, 2, 1, 4, 2, 5, 1)] == [12, 6, 6, 3, 3, 2, 2]
    assert settled(job, 12).micro_batch == 1
    printed = job.run.console.read_text()
    assert (
        "resumed otherwise than begun (micro_batch 12 -> 6): the same rows, but not bit for bit. What is"
        in printed
    )
    for world in (1, 2, 9):
        assert settled(asked, world).micro_batch == 2, "as the spec says"
