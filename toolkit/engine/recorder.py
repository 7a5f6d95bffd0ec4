"""Where a run's numbers go: event files, status, heartbeat, samples and the console."""

import math
import time

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.checkpointing import State
from toolkit.engine.console import Console
from toolkit.engine.telemetry import Telemetry
from toolkit.models.task import Embeddings
from toolkit.plan.figures import length_of_time
from toolkit.store.atomic import append_line
from toolkit.store.events import append_event
from toolkit.store.heartbeat import beat
from toolkit.store.png import write_png
from toolkit.store.projector import write_projector
from toolkit.store.runs import RunFolder
from toolkit.store.status import State as RunState
from toolkit.store.status import Status, write_status
from toolkit.store.tfevents import EventWriter

SIGN_SECONDS = 1.0
"""Between two heartbeats, and two replacements of the status."""
WATCHED = ("training", "evaluating")
EXCERPT = 12
"""Lines of a sample that the console shows."""
STEPS_OF_PATIENCE = 10
"""A rank that gives no sign for so many of its own longest steps hangs."""


class Recorder:
    """Tells the outside how one attempt of a run goes."""

    def __init__(
        self, run: RunFolder, console: Console, *, attempt: int, steps: int, hang_after: float, rank: int = 0
    ) -> None:
        self.run = run
        self.console = console
        self.attempt = attempt
        self.steps = steps
        self.rank = rank
        self.hang_after = hang_after
        self._longest = 0.0
        self._stepped: float | None = None
        self.events: EventWriter | None = None
        self._telemetry: Telemetry | None = None
        self._signed = 0.0
        self._losses = 0.0
        self._speed = 0.0
        self._seen = 0

    def open(self, state: State) -> None:
        """Begin this attempt's event file. A step's metrics are written under the number of steps done."""
        self.console.start_phase("training", self.steps)
        if self.rank:
            return
        self.events = EventWriter(self.run.path, state.step + 1 if state.step else 0)
        self._telemetry = Telemetry(self.run.path)

    def reopen(self, state: State) -> None:
        """Go on from an earlier step: a new event file, whose start supersedes what was written of later ones."""
        if self.events:
            self.events.close()
            self.events = EventWriter(self.run.path, state.step + 1)

    def recovery(self, state: State, reason: str, *, batch: int, back_to: int | None) -> None:
        """A batch was passed over, and the run went back to an earlier step unless that is None."""
        if self.rank:
            return
        append_event(self.run, "skipped", step=state.step, batch=batch, back_to=back_to, reason=reason)
        where = "" if back_to is None else f", back to step {back_to}"
        self.console.warn(f"{reason}: batch {batch} is passed over{where}.")

    def step(self, state: State, metrics: dict[str, float]) -> None:
        if self.events:
            self.events.scalars(state.step, metrics)
        self._seen += 1
        now = time.monotonic()
        if self._stepped is not None:
            # The longest of late: one slow step is forgotten after some hundred.
            self._longest = max(now - self._stepped, 0.98 * self._longest)
        self._stepped = now
        # A debiased exponential mean: single steps are too noisy to read.
        self._losses = 0.95 * self._losses + 0.05 * metrics["train/loss"]
        self._speed = 0.95 * self._speed + 0.05 * metrics["perf/tokens_per_second"]
        scale = 1 - 0.95**self._seen
        speed = self._speed / scale
        left = (self.steps - state.step) * state.seconds / max(state.step, 1)
        self.console.advance(
            state.step,
            f"{state.step}/{self.steps}  loss {self._losses / scale:.3f}  {speed:,.0f} tokens/s  "
            f"MFU {100 * metrics['perf/mfu']:.0f} %  {length_of_time(left)} left",
        )
        self.alive(state)

    def evaluation(self, state: State, metrics: dict[str, float], *, best: bool) -> None:
        if self.events:
            self.events.scalars(state.step, metrics)
        parts = [f"{name} {value:.4f}" for name, value in metrics.items() if name.startswith("val/")]
        self.console.say(f"step {state.step}  {'  '.join(parts)}{'  (best)' if best else ''}", style="bold")
        self.alive(state)

    def sample(self, state: State, prompt: str, text: str) -> None:
        append_line(self.run.samples, {"step": state.step, "prompt": prompt, "text": text})
        if self.events:
            self.events.text(state.step, f"samples/{prompt or 'unprompted'}", f"```\n{prompt}{text}\n```")
        lines = f"{prompt}{text}".strip("\n").splitlines()[:EXCERPT]
        self.console.say("\n".join(f"  │ {line}" for line in lines), style="dim")

    def picture(self, state: State, name: str, pixels: NDArray[np.uint8]) -> None:
        """A picture, (height, width, 3), for TensorBoard."""
        height, width = pixels.shape[:2]
        if self.events:
            self.events.image(state.step, name, write_png(pixels.tobytes(), width, height), width, height)

    def embeddings(self, found: Embeddings) -> None:
        """Vectors for TensorBoard's projector, in place of those of the evaluation before."""
        write_projector(self.run.path, found.vectors, found.labels, found.thumbnails)

    def phase(self, state: State, name: str) -> None:
        beat(self.run, state.step, name, self.rank, self.patience if name in WATCHED else None)
        self._signed = time.monotonic()

    @property
    def patience(self) -> float | None:
        """Seconds of silence that a hang would be told by; None before the first steps, which may compile."""
        return max(self.hang_after, STEPS_OF_PATIENCE * self._longest) if self._longest else None

    def alive(self, state: State) -> None:
        """A heartbeat and the status, if the last ones are a second old."""
        if time.monotonic() - self._signed >= SIGN_SECONDS:
            self.phase(state, "training")
            self.status("running", state)
            if self.events and self._telemetry and (counters := self._telemetry.take()):
                self.events.scalars(state.step, counters)

    def status(self, name: RunState, state: State, reason: str | None = None) -> None:
        if self.rank:
            return
        finite = {key: value for key, value in state.metrics.items() if math.isfinite(value)}
        write_status(
            self.run,
            Status(
                state=name,
                step=state.step,
                steps=self.steps,
                attempt=self.attempt,
                reason=reason,
                metrics=finite,
                best=state.best,
            ),
        )

    def flush(self) -> None:
        """Hand over what readers should see before a checkpoint of this step."""
        if self.events:
            self.events.flush()

    def close(self) -> None:
        if self._telemetry:
            self._telemetry.stop()
        if self.events:
            self.events.close()
        self.console.end_phase()
