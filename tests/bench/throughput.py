"""Training speed beside nanoGPT and transformers' Trainer: the same model maths, side by side in one run.

    python tests/bench/throughput.py --nanogpt FOLDER [--rounds 5] [--steps 2]

6 layers, 384 wide, 6 heads, rows of 256 tokens, 16 rows a step, vocabulary 4,096, AdamW, random tokens. Each
contestant is a process of its own that waits for its turn, so that a noisy machine is noisy for all of them;
medians over the rounds count. FOLDER is a checkout of karpathy/nanoGPT; without it that contestant is left
out, as is transformers' without the package `accelerate`.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from toolkit.engine.supervisor import worker_environment

LAYERS, WIDTH, HEADS, LENGTH, ROWS, VOCABULARY = 6, 384, 6, 256, 16, 4096
WARM_UP = 2


def turns(step: Callable[[], object]) -> None:
    """A contestant's life: warm up, then so many steps whenever a line asks for them."""
    import resource

    for _ in range(WARM_UP):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        for _ in range(int(line)):
            step()
        seconds = time.perf_counter() - begun
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "memory": memory}), flush=True)


def tk(preset: str, compiled: bool) -> None:
    import numpy as np

    from toolkit.data.rows import Rows
    from toolkit.engine.hardware import Hardware
    from toolkit.engine.trainer import Trainer
    from toolkit.plan.plan import plan_here
    from toolkit.spec.spec import Spec

    spec = Spec.model_validate(
        {
            "name": "throughput",
            "data": {"sequence_length": LENGTH},
            "model": {
                "kind": "gpt",
                "preset": preset,
                "n_layers": LAYERS,
                "d_model": WIDTH,
                "n_heads": HEADS,
            },
            "objective": {"kind": "causal_lm"},
            "train": {
                "duration": "100000 steps",
                "batch": f"{ROWS} rows",
                "clip": 1.0,
                "optimizer": {"kind": "adamw"},
            },
            "run": {"compile": "on" if compiled else "off"},
        }
    )
    plan = plan_here(spec)
    trainer = Trainer(plan, Hardware.of(plan), steps=plan.steps or 1)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (2, ROWS, LENGTH), dtype=np.int64)
    size = plan.micro_batch
    micro = [Rows(tokens[0, i : i + size], tokens[1, i : i + size]) for i in range(0, ROWS, size)]
    count = iter(range(100_000))
    turns(lambda: trainer.step(next(count), micro))


def nanogpt(folder: str) -> None:
    import torch

    sys.path.insert(0, folder)
    from model import GPT, GPTConfig

    config = GPTConfig(LENGTH, VOCABULARY, LAYERS, HEADS, WIDTH, dropout=0.0, bias=True)
    model = GPT(config)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    x, y = torch.randint(0, VOCABULARY, (2, ROWS, LENGTH))

    def step() -> None:
        _, loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    turns(step)


def trainer() -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    rows = torch.randint(0, VOCABULARY, (ROWS, LENGTH))
    examples = [{"input_ids": row, "labels": row} for row in rows] * 5000

    class Turns(TrainerCallback):
        """`turns` from within Trainer's own loop."""

        done, left, begun = 0, 0, 0.0

        def on_step_end(self, *_: object, **__: object) -> None:
            import resource

            self.done += 1
            self.left -= 1
            if self.done < WARM_UP or (self.done > WARM_UP and self.left > 0):
                return
            if self.done == WARM_UP:
                print("ready", flush=True)
            else:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                print(json.dumps({"seconds": time.perf_counter() - self.begun, "memory": memory}), flush=True)
            line = sys.stdin.readline()
            if not line:
                os._exit(0)
            self.left, self.begun = int(line), time.perf_counter()

    arguments = TrainingArguments(
        output_dir="/tmp/throughput",
        use_cpu=True,
        bf16=True,
        per_device_train_batch_size=ROWS,
        max_steps=4000,
        logging_steps=10_000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(GPT2LMHeadModel(config), arguments, train_dataset=examples, callbacks=[Turns()]).train()


class Contestant:
    """A process that trains when asked."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.memory = 0
        tuned = name.startswith("tk")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--as", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=worker_environment(os.environ) if tuned else None,
        )
        while (line := self.process.stdout.readline()) and line.strip() != "ready":
            pass
        if not line:
            raise SystemExit(f"{name} did not start")

    def turn(self, steps: int) -> None:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.seconds.append(answer["seconds"] / steps)
        self.memory = answer["memory"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", dest="role", nargs="+")
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--compiled", action="store_true", help="also tk with torch.compile")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    match options.role:
        case ["tk", preset, compiled]:
            tk(preset, compiled == "compiled")
        case ["nanogpt", folder]:
            nanogpt(folder)
        case ["trainer"]:
            trainer()
        case _:
            compete(options)


def compete(options: argparse.Namespace) -> None:
    """Everyone's turn in every round, and the table."""
    contestants = [Contestant("tk, gpt2", ["tk", "gpt2", "eager"])]
    contestants.append(Contestant("tk, qwen3 (default block)", ["tk", "qwen3", "eager"]))
    if options.compiled:
        contestants.append(Contestant("tk, gpt2, compiled", ["tk", "gpt2", "compiled"]))
        contestants.append(Contestant("tk, qwen3, compiled", ["tk", "qwen3", "compiled"]))
    if options.nanogpt:
        contestants.append(Contestant("nanoGPT, float32", ["nanogpt", str(options.nanogpt)]))
    if importlib.util.find_spec("accelerate"):
        contestants.append(Contestant("transformers Trainer, bf16", ["trainer"]))
    for _ in range(options.rounds):
        for contestant in contestants:
            contestant.turn(options.steps)
    first = contestants[0].seconds
    print(f"{'':30} ms a step   tokens/s   GiB   tk is faster by")
    for one in contestants:
        median = statistics.median(one.seconds)
        ratio = statistics.median(b / a for a, b in zip(first, one.seconds, strict=True))
        print(
            f"{one.name:30} {1e3 * median:9.0f} {ROWS * LENGTH / median:10,.0f} {one.memory / 2**30:5.2f}"
            f"   {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
