"""`[finetune.NAME]`: a supervised task, its data, its parent and its recipe."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from toolkit.spec.architecture import HeadKind
from toolkit.spec.chat_template import ChatTemplate, is_template, text_or_file
from toolkit.spec.duration import BatchSize, TrainLength
from toolkit.spec.labelled import Keys, Labelled
from toolkit.spec.recovery import Recovery
from toolkit.spec.section import Conflict, Section
from toolkit.spec.train import LinearSchedule, Optimizer, Schedule
from toolkit.spec.tune import HeadTune, Tune


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
    recovery: Recovery = Recovery()
    """What is done about a batch whose loss or gradient is not a number, or spikes: stop, skip or rollback."""

    @property
    def reads_with(self) -> str:
        """What the head stands on: `pooled` (one vector a row), `positions` (one each), or `words` (the parent's own
        language-model head)."""
        return "pooled"

    def outputs(self, n_labels: int) -> int:
        """Width of a head of its own; 0 for the language-model head."""
        return n_labels


class PooledTarget(Target):
    """What targets with one vector a row have in common."""

    input_key: Keys | None = None
    """The field that is read, or two for pairs. Default: text, image, audio or sequence, by the parent."""
    pool: Literal["class", "last", "mean", "surprisal"] | None = None
    """The vector that the head reads: that of the class token at the beginning, of the last position, or the mean of
    all. `surprisal` weighs them by one over the probability that the parent gives the token that stands there, which
    shows one odd place in a long row; for `tune = { kind = "head" }` on a `masked_lm` with `replace = "bert"`. Default:
    as the trunk has it, which for a GPT is the last, the only one that saw the whole row."""
    head: HeadKind | None = None
    """`linear` stands on the vector itself; `family` has between what the classifiers of `transformers` have there
    (BERT's pooler, ModernBERT's layer and norm), which an export of those needs. Default: `family` for an imported
    encoder, else `linear`."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.pool != "surprisal":
            return
        if self.start == "scratch":
            yield Conflict(
                ("start", "pool"),
                'nothing surprises a model from scratch. Write pool = "mean", or leave it out.',
            )
        elif not isinstance(self.tune, HeadTune):
            yield Conflict(
                ("pool", "tune"),
                "what surprises the parent is known of a trunk that stays as it is. Write tune = { kind = "
                '"head" }, or pool = "mean".',
            )


class Classify(PooledTarget):
    """One label a row: text in one or two fields, or an image, a recording, a protein."""

    kind: Literal["classify"]
    label_key: str = "label"
    """The field that holds the label: text or a whole number."""
    labels: tuple[str, ...] = ()
    """Names of the classes; by default those of the training rows, sorted."""


class Regress(PooledTarget):
    """A number a row."""

    kind: Literal["regress"]
    value_key: str = "value"
    """The field that holds the number."""

    def outputs(self, n_labels: int) -> int:
        return 1


class Multilabel(PooledTarget):
    """Any number of labels a row, none included."""

    kind: Literal["multilabel"]
    labels_key: str = "labels"
    """The field that holds the labels: a list, or a text with `separator` between them."""
    separator: str = Field(default=",", min_length=1)
    """Between labels that are one text, as in CSV files."""
    labels: tuple[str, ...] = ()
    """Names of the labels; by default those of the training rows, sorted."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability from which a label counts as given."""


class Tag(Target):
    """One tag a token: named entities, parts of speech. A bidirectional parent sees both sides of a token, a causal one
    only what stands before it."""

    kind: Literal["tag"]
    tokens_key: str = "tokens"
    """The field that holds the list of tokens."""
    tags_key: str = "tags"
    """The field that holds their tags, such as `B-PER`, `I-PER` and `O`."""
    labels: tuple[str, ...] = ()
    """Names of the tags; by default those of the training rows, sorted."""
    piece: Literal["first", "last"] = "first"
    """Which piece of a token that the tokenizer cuts carries its tag. `last` suits a causal parent: there the whole
    token has been read."""
    head: HeadKind | None = None
    """`linear` stands on the vectors themselves; `family` has between what the classifiers of `transformers` have there
    (ModernBERT's layer and norm), which an export of those needs. Default: `family` for an imported encoder, else
    `linear`."""

    @property
    def reads_with(self) -> str:
        return "positions"


class Answer(Target):
    """A question about a context: one of some options, by their likelihood, or a span of the context."""

    kind: Literal["answer"]
    context_key: str | None = None
    """The field with the context. Default: `context`, where a row has it."""
    question_key: str | None = None
    """The field with the question. Default: `question`, where a row has it."""
    answer_key: str = "answer"
    """The field with the answer: an option, its number or its letter; for a span its text, or SQuAD's table."""
    options: tuple[str, ...] = ()
    """The options, where they are the same for all rows."""
    options_key: str | None = None
    """The field with the options of a row. Without options the answer is a span of the context."""

    @property
    def reads_with(self) -> str:
        return "words" if self.has_options else "positions"

    @property
    def has_options(self) -> bool:
        """Whether the answer is one of some options."""
        return bool(self.options) or self.options_key is not None

    def outputs(self, n_labels: int) -> int:
        return 0 if self.has_options else 2

    def conflicts(self) -> Iterator[Conflict]:
        if len(self.options) == 1:
            yield Conflict(("options",), "one option leaves no choice. Give two or more.")
        if self.options and self.options_key is not None:
            yield Conflict(
                ("options_key", "options"), "give the options here or in the rows. Leave out one of them."
            )


class Words(Target):
    """What targets that write text have in common."""

    @property
    def reads_with(self) -> str:
        return "words"

    def outputs(self, n_labels: int) -> int:
        return 0


class Chat(Words):
    """Answers in a conversation: rows with `messages`, Alpaca's or ShareGPT's columns, or a prompt and its completion.
    The loss is on the answers alone."""

    kind: Literal["chat"]
    template: Annotated[str, AfterValidator(text_or_file)] | None = None
    """How a conversation becomes a text: a Jinja template or a file with one. Default: the parent's own, else
    `User:`, `Assistant:` and the end of the text behind an answer."""
    prompt_key: str | None = None
    """Set for rows that are a prompt and its completion: the prompt's field. They are read as they stand, without a
    template."""
    completion_key: str = "completion"
    """The completion's field."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.template is None:
            return
        if self.prompt_key is not None:
            yield Conflict(
                ("template", "prompt_key"), "prompts and completions have no template. Leave out one of them."
            )
        if not is_template(self.template):
            yield Conflict(("template",), f"there is no file {self.template!r}, and a template has braces.")
            return
        try:
            ChatTemplate(self.template).check()
        except ValueError as error:
            yield Conflict(("template",), str(error))


class Translate(Words):
    """One text to another: a translation, or a summary. The loss is on the target text alone."""

    kind: Literal["translate"]
    source_key: str = "source"
    """The field that is read."""
    target_key: str = "target"
    """The field that is written."""
    metrics: tuple[Literal["bleu", "chrf", "rouge"], ...] = Field(default=("bleu", "chrf"), min_length=1)
    """What judges the text written: `bleu` and `chrf` for translations, `rouge` for summaries."""
    max_new_tokens: int = Field(default=100, ge=1)
    """Longest text written, in tokens."""


RECIPE = frozenset(
    {
        "parent",
        "start",
        "tune",
        "pool",
        "head",
        "dropout",
        "duration",
        "batch",
        "optimizer",
        "schedule",
        "clip",
        "recovery",
    }
)
"""Keys of a target that don't change what its rows are made into."""

Finetune = Annotated[
    Classify | Regress | Multilabel | Tag | Answer | Chat | Translate, Field(discriminator="kind")
]
