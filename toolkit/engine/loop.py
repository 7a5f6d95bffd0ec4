"""The one loop: from a stage's last checkpoint to its last step, whatever the task is.

State is weights, optimizer and step: batches and random numbers follow from (seed, step, micro-batch), so a
resumed run equals an uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from toolkit.data.batches import Batches
from toolkit.data.dataset import Arrays, Dataset
from toolkit.data.rows import Rows
from toolkit.engine.checkpointing import Saver, State, load_checkpoint
from toolkit.engine.interrupts import Interrupts
from toolkit.engine.recorder import Recorder
from toolkit.engine.recovery import BadBatch, action, remembered, spike
from toolkit.engine.samples import write_samples
from toolkit.engine.trainer import StepResult, Trainer
from toolkit.engine.versions import versions
from toolkit.plan.length import Every
from toolkit.plan.plan import Plan
from toolkit.spec.recovery import Recovery
from toolkit.store.errors import LeaseLost
from toolkit.store.manifest import Checkpoint
from toolkit.store.runs import RunFolder
from toolkit.store.status import Best


class Stopped(Exception):  # noqa: N818 - a request that was obeyed, not a fault
    """The run stopped because it was asked to."""


@dataclass
class Loop:
    """One attempt at a stage. `carry_out` returns when it is finished or stopped."""

    run: RunFolder
    plan: Plan
    dataset: Dataset
    trainer: Trainer
    saver: Saver
    recorder: Recorder
    interrupts: Interrupts

    def __post_init__(self) -> None:
        self.ranks = self.trainer.ranks
        self.state = State()
        self.steps = self.trainer.steps
        self.steps_here, self.seconds_here, self.evaluation_speed = 0, 0.0, 0.0
        self.positions_here, self.ending = 0, False
        self._saved_at, self._saved_time = -1, time.monotonic()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a verified checkpoint. Raises StoreError if it holds another model."""
        self.state = load_checkpoint(self.trainer, checkpoint)
        self._saved_at = self.state.step

    def carry_out(self) -> bool:
        """Train to the last step; False if stopped before. The work is saved either way.

        Raises BadBatch, with the weights before it saved, where `train.recovery` has no other way on. Ranks end
        together; whatever else one of them raises ends the others too, without another checkpoint: it could not be
        a common one.
        """
        self.recorder.open(self.state)
        try:
            while not self._train_on():
                pass
            return True
        except Stopped:
            return False
        except (BadBatch, LeaseLost):
            raise
        except BaseException:
            self._saved_at = self._saved_at if self.ranks.alone else self.state.step
            raise
        finally:
            self.ending = True
            with suppress(OSError):  # a sign of life is not worth a checkpoint
                self.recorder.phase(self.state, "saving")
            self._save()
            self.saver.wait()

    def _train_on(self) -> bool:
        """Train to the last step, or to a batch that is recovered from; whether the last step is done."""
        with self._batches() as batches:
            ready = iter(batches)
            while True:
                self._between_steps()
                if self.state.step == self.steps:
                    return True
                try:
                    self._train(ready)
                except BadBatch as bad:
                    self._recover(bad)
                    return False

    def _recover(self, bad: BadBatch) -> None:
        """Pass over a batch, and go back where asked. Raises it again where the run should stop."""
        state, asked = self.state, self.plan.train.recovery
        what, number = action(asked, bad, state.recovered), state.step + state.skipped
        if what == "stop":
            raise bad.after(state.recovered)
        point = state.step - state.step % asked.rollback_every if what == "rollback" else 0
        if point:
            self.saver.wait()
            self.state = load_checkpoint(self.trainer, self.saver.go_back(point)).after(state)
            self._saved_at = point
            self.recorder.reopen(self.state)
        self.state.recovered = state.recovered + 1
        self.state.skipped = number + 1 - self.state.step
        self.recorder.recovery(self.state, str(bad), batch=number, back_to=point or None)

    def _train(self, ready: Iterator[list[Rows | Arrays]]) -> None:
        wanted = time.perf_counter()
        micro_batches = next(ready)
        begun = time.perf_counter()
        state, asked = self.state, self.plan.train.recovery
        judge = partial(spike, asked, state.recent)
        result = self.trainer.step(state.step, micro_batches, skipped=state.skipped, judge=judge)
        self.trainer.hardware.synchronize()
        seconds = time.perf_counter() - begun
        state.recent = remembered(asked, state.recent, (result.loss, result.grad_norm))
        state.step += 1
        state.tokens += result.positions
        state.seconds += seconds + begun - wanted
        self.steps_here += 1
        self.seconds_here += seconds + begun - wanted
        state.flops += result.flops
        state.peak_memory = max(state.peak_memory, self.trainer.hardware.peak_memory())
        self._record(result, seconds, begun - wanted)

    def _record(self, result: StepResult, seconds: float, waited: float) -> None:
        self.positions_here += result.positions
        metrics = {
            "train/loss": result.loss,
            "train/lr": result.lr,
            "train/grad_norm": result.grad_norm,
            "train/tokens": float(self.state.tokens),
            "perf/tokens_per_second": result.positions / (seconds + waited),
            "perf/step_seconds": seconds,
            "perf/data_wait_seconds": waited,
            "perf/mfu": result.flops / seconds / self.trainer.peak_flops,
            "memory/peak_gib": self.state.peak_memory / 2**30,
        }
        if self.plan.train.recovery != Recovery():
            metrics["train/skipped_batches"] = float(self.state.skipped)
        if result.slots > result.positions:
            metrics["perf/padding"] = 1 - result.positions / result.slots
        metrics |= {f"train/{name}": value for name, value in result.metrics.items()}
        self.state.metrics |= metrics
        self.recorder.step(self.state, metrics)

    def _between_steps(self) -> None:
        """What falls due at the present step: evaluation, samples, requests, a checkpoint."""
        state, last = self.state, self.state.step == self.steps
        if state.evaluated_at != state.step and (last or _due(self.plan.evaluate_every, state.step)):
            self._evaluate(None if last else self.plan.run.evaluate_rows, last=last)
        if state.sampled_at != state.step and (last or _due(self.plan.sample_every, state.step)):
            self._sample()
            state.sampled_at = state.step
        asked = self.ranks.first and self.interrupts.heed(self.run)
        lost, save = self.ranks.any(
            isinstance(self.saver.failure, LeaseLost), asked or self._checkpoint_due()
        )
        if lost:
            raise self.saver.failure or LeaseLost(f"{self.run} was taken over by another process.")
        self._stop_if_asked()
        if save:
            self._save()

    def _stop_if_asked(self) -> None:
        """Raises Stopped, on all ranks, where any was asked to stop."""
        if self.ranks.any(bool(self.interrupts))[0]:
            self.interrupts.ask("another rank was asked to stop")
            raise Stopped

    def _sample(self) -> None:
        task = self.trainer.whole_task()
        if task is not None:
            write_samples(task, self.dataset.tokenizer, self.plan, self.state, self.recorder)

    def _evaluate(self, limit: int | None, *, last: bool) -> None:
        split, size = self.dataset.validation, self.plan.micro_batch
        rows = min(split.n_rows, limit or split.n_rows)
        self.recorder.phase(self.state, "evaluating")

        def table() -> Iterator[tuple[int | None, Rows | Arrays]]:
            index, shares = self.trainer.sharding.data
            n_micro = -(-rows // size)
            for first in range(0, n_micro, shares):
                self._stop_if_asked()
                self.recorder.alive(self.state)
                micro = first + index if first + index < n_micro else None
                start = size * (first if micro is None else micro)
                yield micro, split.table(start, min(start + size, rows))

        begun = time.perf_counter()
        means, report = self.trainer.evaluate(table(), last=last)
        metrics = {f"val/{name}": value for name, value in means.items()}
        if self.trainer.task.predicts_every_token and split.bytes:
            metrics["val/bits_per_byte"] = means["loss"] * split.tokens / split.bytes / math.log(2)
        metrics["perf/evaluation_seconds"] = seconds = time.perf_counter() - begun
        self.evaluation_speed = rows * self.plan.row_length / seconds
        self.state.evaluation_seconds += seconds
        state = self.state
        # The libraries that score and draw are in memory from the first evaluation on, which may be the last.
        state.peak_memory = max(state.peak_memory, self.trainer.hardware.peak_memory())
        state.evaluated_at = state.step
        state.metrics |= metrics
        criterion = self.trainer.task.criterion
        value = metrics[criterion.metric]
        sign = -1 if criterion.higher else 1
        better = state.best is None or sign * value < sign * state.best.value
        if better:
            state.best = Best(metric=criterion.metric, value=value, step=state.step)
        for name, picture in report.pictures.items():
            self.recorder.picture(state, name, picture)
        for prompt, text in report.samples:
            self.recorder.sample(state, prompt, text)
        if report.embeddings is not None:
            self.recorder.embeddings(report.embeddings)
        self.recorder.evaluation(state, metrics, best=better)
        wanted = better and self.plan.run.keep.best and state.step < self.steps
        if wanted and not self.ranks.any(self.saver.busy)[0]:
            self._save()

    def _checkpoint_due(self) -> bool:
        every, step = self.plan.checkpoint_every, self.state.step
        if step == self._saved_at:
            return False
        point = self.plan.train.recovery.point_every
        if point is not None and step and step % point == 0:
            return True
        if every is None:
            return False
        if every.seconds is not None:
            return time.monotonic() - self._saved_time >= every.seconds
        return _due(every, step)

    def _save(self) -> None:
        state = self.state
        if self._saved_at == state.step or state.step == 0:
            return
        self._saved_at, self._saved_time = state.step, time.monotonic()
        self.recorder.flush()
        at_this_step = {k: v for k, v in state.metrics.items() if k.startswith("train/")}
        if state.evaluated_at == state.step:
            at_this_step |= {k: v for k, v in state.metrics.items() if k.startswith("val/")}
        self.saver.save(
            self.trainer,
            state,
            {
                "metrics": at_this_step,
                "tokens": state.tokens,
                "flops": state.flops,
                "seconds": state.seconds,
                "criterion": self.trainer.task.criterion._asdict(),
                "seed": self.plan.seed,
                "fingerprint": self.plan.fingerprint,
                "data_fingerprint": self.plan.data_fingerprint,
                "versions": versions(),
                "run": str(self.run),
            },
        )

    def actual(self) -> dict[str, float]:
        """What the run took so far, to stand beside its plan."""
        return {
            "parameters": float(sum(p.numel() for p in self.trainer.task.parameters())),
            "tokens": float(self.state.tokens),
            "flops": self.state.flops,
            "seconds": self.state.seconds + self.state.evaluation_seconds,
            "peak_memory": float(self.state.peak_memory),
        }

    def _batches(self) -> Batches:
        return Batches(
            self.dataset.train,
            seed=self.plan.seed,
            start_step=self.state.step + self.state.skipped,
            steps=self.steps + self.state.skipped,
            micro_rows=self.trainer.sharding.rows,
            batch_rows=self.plan.batch_rows,
            ranks=self.trainer.sharding.data,
        )


def _due(every: Every | None, step: int) -> bool:
    return every is not None and every.steps is not None and step > 0 and step % every.steps == 0
