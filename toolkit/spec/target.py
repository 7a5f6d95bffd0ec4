"""`[finetune.NAME]`: a supervised task, its data, its parent and its recipe."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.duration import BatchSize, TrainLength
from toolkit.spec.labelled import Keys, Labelled
from toolkit.spec.section import Section
from toolkit.spec.train import LinearSchedule, Optimizer, Schedule
from toolkit.spec.tune import Tune


class Target(Section):
    """What every fine-tune can be told."""

    parent: str | None = None
    """Where the weights come from: a stage of this spec (`pretrain` by default), a spec (`specs/gpt_small.toml`),
    a run (`gpt_small/pretrain@best`), or a Hugging Face folder or name (`hf:PATH`)."""
    start: Literal["parent", "scratch"] = "parent"
    """`scratch` takes the parent's architecture and tokenizer and leaves its weights: what they are worth shows
    against it."""
    data: Labelled
    """The labelled rows."""
    sequence_length: int | None = Field(default=None, ge=4)
    """Longest row in tokens; longer ones are cut. Default: what the parent takes."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row that can't be used: name it and stop, or count it and go on."""
    tune: Tune | None = None
    """How much of the trunk moves. Default: by target and amount of data; `tk plan` says which."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of activations dropped in training. Default: the parent's."""
    duration: TrainLength = TrainLength.parse("3 epochs")
    """`"3 epochs"`, `"500 steps"`, …"""
    batch: BatchSize = BatchSize.parse("32 rows")
    """Global batch. Micro-batches follow from the machine."""
    optimizer: Optimizer | None = None
    """Default: AdamW, its rate by the trunk's width and by what moves; `tk plan` says which."""
    schedule: Schedule = LinearSchedule(kind="linear", warmup=0.1, cooldown=0.9)
    """How the learning rates change over the run."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""

    @property
    def reads_with(self) -> str:
        """What the head stands on: `pooled` (one vector a row), `positions` (one each), or `words` (the parent's own
        language-model head)."""
        return "pooled"

    def outputs(self, n_labels: int) -> int:
        """Width of a head of its own; 0 for the language-model head."""
        return n_labels


class Classify(Target):
    """One label a row: text in one or two fields, or an image, a recording, a protein."""

    kind: Literal["classify"]
    input_key: Keys | None = None
    """The field that is read, or two for pairs. Default: text, image, audio or sequence, by the parent."""
    label_key: str = "label"
    """The field that holds the label: text or a whole number."""
    labels: tuple[str, ...] = ()
    """Names of the classes; by default those of the training rows, sorted."""
    pool: Literal["last", "mean"] | None = None
    """The vector that the head reads: that of the last position, or the mean of all. Default: as the trunk has it,
    which for a GPT is the last, the only one that saw the whole row."""


class Regress(Target):
    """A number a row."""

    kind: Literal["regress"]
    input_key: Keys | None = None
    """The field that is read, or two for pairs. Default: text, image, audio or sequence, by the parent."""
    value_key: str = "value"
    """The field that holds the number."""
    pool: Literal["last", "mean"] | None = None
    """The vector that the head reads: that of the last position, or the mean of all. Default: as the trunk has it,
    which for a GPT is the last, the only one that saw the whole row."""

    def outputs(self, n_labels: int) -> int:
        return 1


RECIPE = frozenset(
    {"parent", "start", "tune", "pool", "dropout", "duration", "batch", "optimizer", "schedule", "clip"}
)
"""Keys of a target that don't change what its rows are made into."""

Finetune = Annotated[Classify | Regress, Field(discriminator="kind")]
