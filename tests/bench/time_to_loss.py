"""What the default recipe saves: seconds of training to the final held-out loss of GPT-2's block with AdamW.

    python tests/bench/time_to_loss.py [--seconds 60] [--share 0.35] [--ablate] [KEY=VALUE ...]

Both train on the embedded sources, on this engine, with the sizes of `specs/gpt_small.toml`. The baseline
gets SECONDS of steps, the default recipe SHARE of that; each has a schedule of its own length. Their steps
alternate, so that a noisy machine is noisy for both; evaluation is not counted. `--ablate` also takes single
parts of the default recipe away. KEY=VALUE goes to the baseline, to tune it.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

from toolkit.data.prepare import prepare
from toolkit.engine.hardware import Hardware
from toolkit.engine.trainer import Trainer
from toolkit.plan.plan import plan_here
from toolkit.spec.load import load_spec

SPEC = Path(__file__).parents[2] / "specs" / "gpt_small.toml"
BASELINE = (
    "model.preset=gpt2",
    'train.optimizer={ kind = "adamw", lr = 1e-3, weight_decay = 0.1 }',
    'train.schedule={ kind = "cosine", warmup = 0.05, floor = 0.0 }',
    "train.clip=1.0",
)
ABLATIONS = {
    "AdamW for Muon": ('train.optimizer={ kind = "adamw", lr = 3e-3 }',),
    "cosine for linear": ('train.schedule={ kind = "cosine", warmup = 0.0, floor = 0.0 }',),
    "no QK-norm": ("model.qk_norm=false",),
    "GELU for SwiGLU": ("model.activation=gelu",),
    "tied head": ("model.tie_embeddings=true",),
    "outputs not at zero": ("model.zero_init_outputs=false",),
    "learned positions": ("model.positions=learned",),
}


class Recipe:
    """One contestant: a trainer and the seconds it has used."""

    def __init__(self, name: str, overrides: tuple[str, ...], seconds: float) -> None:
        self.name = name
        spec = load_spec(SPEC, overrides).spec
        self.corpus = prepare(spec.data)
        self.plan = plan_here(spec)
        self.seconds = 0.0
        self.done = 0
        trial = Trainer(self.plan, Hardware.of(self.plan), steps=1000)
        taken = []
        for step in range(10):
            rows = self.rows(step)
            begun = time.perf_counter()
            trial.step(step, rows)
            taken.append(time.perf_counter() - begun)
        self.steps = max(8, round(seconds / statistics.median(taken[4:])))
        self.trainer = Trainer(self.plan, Hardware.of(self.plan), steps=self.steps)

    def rows(self, step: int) -> list:
        plan, train = self.plan, self.corpus.train
        starts = range(0, plan.batch_rows, plan.micro_batch)
        return [
            train.rows(
                step,
                start,
                min(start + plan.micro_batch, plan.batch_rows),
                seed=plan.seed,
                batch_rows=plan.batch_rows,
            )
            for start in starts
        ]

    def advance(self) -> None:
        rows = self.rows(self.done)
        begun = time.perf_counter()
        self.trainer.step(self.done, rows)
        self.seconds += time.perf_counter() - begun
        self.done += 1

    def result(self) -> tuple[float, float]:
        """Held-out loss in nats and bits per byte."""
        held_out = self.corpus.validation
        tables = (held_out.table(start, start + 16) for start in range(0, held_out.n_rows, 16))
        loss = self.trainer.evaluate(enumerate(tables))[0]["loss"]
        return loss, loss * held_out.tokens / held_out.bytes / math.log(2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--share", type=float, default=0.35)
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    recipes = [Recipe("GPT-2 block, AdamW, cosine", (*BASELINE, *options.overrides), options.seconds)]
    recipes.append(Recipe("default", (), options.seconds * options.share))
    for name, overrides in ABLATIONS.items() if options.ablate else ():
        recipes.append(Recipe(name, overrides, options.seconds * options.share))
    while unfinished := [r for r in recipes if r.done < r.steps]:
        min(unfinished, key=lambda r: r.done / r.steps).advance()
    print(f"{'':28} parameters   steps  tokens     s   share   nats   bits/byte")
    for recipe in recipes:
        loss, bits = recipe.result()
        print(
            f"{recipe.name:28} {recipe.plan.parameters.total:10,} {recipe.steps:7}"
            f" {recipe.steps * recipe.plan.batch_tokens / 1e6:6.2f}M {recipe.seconds:5.0f}"
            f"   {recipe.seconds / recipes[0].seconds:5.2f} {loss:6.3f}   {bits:.4f}"
        )


if __name__ == "__main__":
    main()
