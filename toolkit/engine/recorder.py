"""Where a run's numbers go: event files, status, heartbeat, samples and the console."""

import math
import time

from toolkit.engine.checkpointing import State
from toolkit.engine.console import Console
from toolkit.engine.telemetry import Telemetry
from toolkit.plan.figures import length_of_time
from toolkit.store.atomic import append_line
from toolkit.store.heartbeat import beat
from toolkit.store.runs import RunFolder
from toolkit.store.status import State as RunState
from toolkit.store.status import Status, write_status
from toolkit.store.tfevents import EventWriter

SIGN_SECONDS = 1.0
"""Between two heartbeats, and two replacements of the status."""
EXCERPT = 12
"""Lines of a sample that the console shows."""


class Recorder:
    """Tells the outside how one attempt of a run goes."""

    def __init__(self, run: RunFolder, console: Console, *, attempt: int, steps: int) -> None:
        self.run = run
        self.console = console
        self.attempt = attempt
        self.steps = steps
        self.events: EventWriter | None = None
        self._telemetry: Telemetry | None = None
        self._signed = 0.0
        self._losses = 0.0
        self._speed = 0.0
        self._seen = 0

    def open(self, state: State) -> None:
        """Begin this attempt's event file. A step's metrics are written under the number of steps done."""
        self.events = EventWriter(self.run.path, state.step + 1 if state.step else 0)
        self._telemetry = Telemetry(self.run.path)
        self.console.start_phase("training", self.steps)

    def step(self, state: State, metrics: dict[str, float]) -> None:
        if self.events:
            self.events.scalars(state.step, metrics)
        self._seen += 1
        # A debiased exponential mean: single steps are too noisy to read.
        self._losses = 0.95 * self._losses + 0.05 * metrics["train/loss"]
        self._speed = 0.95 * self._speed + 0.05 * metrics["perf/tokens_per_second"]
        scale = 1 - 0.95**self._seen
        speed = self._speed / scale
        left = (self.steps - state.step) * metrics["train/tokens"] / max(state.step, 1) / speed
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

    def phase(self, state: State, name: str) -> None:
        beat(self.run, state.step, name)
        self._signed = time.monotonic()

    def alive(self, state: State) -> None:
        """A heartbeat and the status, if the last ones are a second old."""
        if time.monotonic() - self._signed >= SIGN_SECONDS:
            self.phase(state, "training")
            self.status("running", state)
            if self.events and self._telemetry and (counters := self._telemetry.take()):
                self.events.scalars(state.step, counters)

    def status(self, name: RunState, state: State, reason: str | None = None) -> None:
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
