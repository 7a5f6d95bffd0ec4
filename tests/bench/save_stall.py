"""How long saving holds training up: `python tests/bench/save_stall.py [--megabytes 600] [--rounds 5]`.

A model with AdamW state of that size; its checkpoint is saved while steps go on. Prints the time that `save`
blocks, the time until the checkpoint is committed, and the step time beside it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from toolkit.data.rows import Rows
from toolkit.engine.checkpointing import Saver, State
from toolkit.engine.hardware import Hardware
from toolkit.engine.trainer import Trainer
from toolkit.plan.machine import Machine
from toolkit.plan.plan import make_plan
from toolkit.spec.spec import Spec
from toolkit.store.lease import hold
from toolkit.store.runs import RunFolder

BYTES = 12
"""Of a parameter: weight and AdamW's two moments in float32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    width = 64 * max(1, round((given.megabytes * 1e6 / BYTES / (8 * 12)) ** 0.5 / 64))
    spec = Spec.model_validate(
        {
            "name": "stall",
            "data": {
                "sequence_length": 64,
                "tokenizer": {"kind": "bytes"},
                "sources": [{"kind": "python_stdlib"}],
            },
            "model": {"kind": "gpt", "n_layers": 8, "d_model": width, "n_heads": width // 64},
            "objective": {"kind": "causal_lm"},
            "train": {"duration": "100 steps", "batch": "1 rows", "optimizer": {"kind": "adamw"}},
            "run": {"device": "cpu"},
        }
    )
    plan = make_plan(spec, machine=Machine.detect())
    trainer = Trainer(plan, Hardware.of(plan), steps=100)
    tokens = np.random.default_rng(0).integers(0, 256, (2, 1, 64), dtype=np.int64)
    rows = [Rows(tokens[0], tokens[1])]
    alone: list[float] = []
    for step in range(3):
        begun = time.perf_counter()
        trainer.step(step, rows)
        alone.append(time.perf_counter() - begun)
    blocked, written, beside = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder), "stall")
        run.create()
        with hold(run) as lease:
            saver = Saver(plan, run, lease, {}, lambda checkpoint: None, print)
            for number in range(given.rounds + 1):
                begun = time.perf_counter()
                saver.save(trainer, State(step=number + 1), {})
                blocked.append(time.perf_counter() - begun)
                while saver.busy:
                    step = time.perf_counter()
                    trainer.step(2, rows)
                    beside.append(time.perf_counter() - step)
                saver.wait()
                written.append(time.perf_counter() - begun)
            size = saver.store.list()[-1].size
    # The first snapshot touches its memory for the first time.
    blocks, takes = statistics.median(blocked[1:]), statistics.median(written[1:])
    print(f"state {size / 1e6:,.0f} MB; save blocks {1e3 * blocks:.0f} ms (first {1e3 * blocked[0]:.0f})")
    print(f"committed, hashed and synced after {takes:.2f} s: {100 * blocks / takes:.1f} % of it blocks")
    print(
        f"a step takes {statistics.median(alone):.2f} s alone, {statistics.median(beside):.2f} s beside a save"
    )


if __name__ == "__main__":
    main()
