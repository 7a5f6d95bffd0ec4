"""A short measurement of a plan's speed on this machine, with made-up tokens."""

import statistics
import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from toolkit.data.dataset import Arrays
from toolkit.engine.console import Console
from toolkit.engine.hardware import Hardware
from toolkit.engine.interrupts import EXIT_FINISHED, EXIT_STOPPED, Interrupts
from toolkit.engine.job import Job
from toolkit.engine.trainer import Trainer
from toolkit.plan.plan import Plan, plan_here
from toolkit.plan.probe import ProbeRecord, save_probe, workload_key
from toolkit.spec.model import ViTArchitecture

STEPS = 8
"""Measured after two that warm up; the median counts."""
SECONDS = 20.0
"""After which fewer steps have to do."""


class Numbers:
    """A vocabulary without words, for tasks that ask for special tokens. The last one is the mask."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.end_of_text_id = self.begin_of_text_id = 0
        self.mask_id: int | None = vocab_size - 1
        self.special_ids = (0, vocab_size - 1)
        everywhere = np.ones(max(vocab_size, 1), bool)
        self.word_edges: tuple[NDArray[np.bool_], NDArray[np.bool_]] = (everywhere, everywhere)

    def encode(self, text: str) -> list[int]:
        return []

    def decode(self, ids: Iterable[int]) -> str:
        return ""


def made_up(plan: Plan) -> list[Arrays]:
    """The micro-batches of a step, with random tokens or pixels."""
    arch, rng = plan.architecture, np.random.default_rng(0)
    starts = range(0, plan.batch_rows, plan.micro_batch)
    sizes = [min(plan.micro_batch, plan.batch_rows - start) for start in starts]
    if isinstance(arch, ViTArchitecture):
        shape = (arch.channels, arch.height, arch.width)
        return [{"inputs": rng.integers(0, 256, (size, *shape), dtype=np.uint8)} for size in sizes]
    return [
        {name: rng.integers(0, plan.vocab_size, (size, plan.row_length)) for name in ("inputs", "targets")}
        for size in sizes
    ]


def probe(job: Job, interrupts: Interrupts) -> int:
    """Measure and keep; the exit status. Raises PlanError."""
    plan = plan_here(job.spec, job.stage, runs=job.root)
    rows = made_up(plan)
    with Console() as console:
        console.start_phase("measuring", STEPS + 2)
        trainer = Trainer(plan, Hardware.of(plan), steps=STEPS + 2, tokenizer=Numbers(plan.vocab_size))
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
                evaluation_tokens_per_second=len(rows[0]["inputs"]) * plan.row_length / evaluation,
                peak_flops=trainer.peak_flops,
                peak_memory=trainer.hardware.peak_memory(),
                seconds=time.perf_counter() - begun,
            )
        )
    return EXIT_FINISHED
