"""A short measurement of a plan's speed on this machine, with made-up tokens."""

import statistics
import time

import numpy as np

from toolkit.data.rows import Rows
from toolkit.engine.console import Console
from toolkit.engine.hardware import Hardware
from toolkit.engine.interrupts import EXIT_FINISHED, EXIT_STOPPED, Interrupts
from toolkit.engine.job import Job
from toolkit.engine.trainer import Trainer
from toolkit.plan.plan import plan_here
from toolkit.plan.probe import ProbeRecord, save_probe, workload_key

STEPS = 8
"""Measured after two that warm up; the median counts."""
SECONDS = 20.0
"""After which fewer steps have to do."""


def probe(job: Job, interrupts: Interrupts) -> int:
    """Measure and keep; the exit status. Raises PlanError."""
    plan = plan_here(job.spec, job.stage, runs=job.root)
    shape = (plan.batch_rows, plan.row_length)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, plan.vocab_size, (2, *shape), dtype=np.int64)
    size = plan.micro_batch
    rows = [
        Rows(tokens[0, start : start + size], tokens[1, start : start + size])
        for start in range(0, plan.batch_rows, size)
    ]
    with Console() as console:
        console.start_phase("measuring", STEPS + 2)
        trainer = Trainer(plan, Hardware.of(plan), steps=STEPS + 2)
        begun, seconds = time.perf_counter(), []
        for step in range(STEPS + 2):
            if interrupts:
                return EXIT_STOPPED
            start = time.perf_counter()
            trainer.step(step, rows)
            trainer.hardware.synchronize()
            seconds.append(time.perf_counter() - start)
            console.advance(step + 1, f"{plan.batch_tokens / seconds[-1]:,.0f} tokens/s")
            if step >= 2 and time.perf_counter() - begun > SECONDS:
                break
        start = time.perf_counter()
        trainer.evaluate(enumerate(rows[:1]))
        evaluation = time.perf_counter() - start
        save_probe(
            ProbeRecord(
                machine=plan.machine,
                workload=workload_key(plan),
                tokens_per_second=plan.batch_tokens / statistics.median(seconds[2:] or seconds),
                evaluation_tokens_per_second=rows[0].inputs.size / evaluation,
                peak_flops=trainer.peak_flops,
                peak_memory=trainer.hardware.peak_memory(),
                seconds=time.perf_counter() - begun,
            )
        )
    return EXIT_FINISHED
