"""`[run]`: execution. Nothing here changes the result, so nothing here is part of the fingerprint."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.duration import Interval
from toolkit.spec.places import credentials_of
from toolkit.spec.section import Allowed, Conflict, Section

Device = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"),
    Allowed('"auto", "cpu", "mps", "cuda" or "cuda:N"'),
]


class Keep(Section):
    """Which checkpoints stay. The last two good ones always do."""

    last: int = Field(default=2, ge=2)
    """So many of the newest."""
    best: int = Field(default=1, ge=0)
    """So many of the lowest held-out loss."""
    every: int | None = Field(default=None, ge=1)
    """Also keep each checkpoint whose step is a multiple of this."""


class Rates(Section):
    """What a machine costs, for the plan's account."""

    per_hour: float | None = Field(default=None, ge=0)
    """Price of an hour of the machine."""
    watts: float | None = Field(default=None, gt=0)
    """Power draw while training."""
    per_kwh: float | None = Field(default=None, ge=0)
    """Price of a kilowatt-hour."""
    currency: str = Field(default="USD", max_length=8)


class Parallel(Section):
    """How the ranks of a run share the work: replicate x shard x tensor ranks in all. None of it changes the
    global batch or the order of the data."""

    replicate: int = Field(default=1, ge=1)
    """Groups that each hold the whole model, divided among their ranks."""
    shard: int | None = Field(default=None, ge=1)
    """Ranks that weights, gradients and optimizer state are divided over. Default: all that are left."""
    tensor: int = Field(default=1, ge=1)
    """Ranks that each block's heads and hidden values are divided over, for models whose blocks are too large or
    too slow for one: neighbours, which compute the same micro-batches. Divides the heads and model.d_ff."""
    gather: Literal["auto", "bfloat16", "float32"] = "auto"
    """Type in which blocks' weights travel between ranks; `auto`: the precision on GPUs, float32 on CPUs."""
    activation_checkpointing: bool = False
    """Keep only the inputs of the blocks and compute the rest again in the backward pass. Works on one rank
    too."""
    min_nodes: int | None = Field(default=None, ge=1)
    """Go on with so many machines when others are lost. Default: all are needed."""


class Run(Section):
    """`[run]`: where and how a stage is carried out."""

    device: Device = "auto"
    """`auto` takes a GPU where there is one."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """`auto` takes bfloat16 where the hardware multiplies it fast."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; `auto` uses it on GPUs."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rows computed at once; by default as many as fit, and so few that every rank has some. What is drawn at random
    (dropout, masks, views) follows from it."""
    parallel: Parallel = Parallel()
    """How ranks share the work: replicate, shard, tensor, gather, activation_checkpointing, min_nodes."""
    hang_after: float = Field(default=60.0, gt=0)
    """Seconds without a step, at least, and ten times the longest recent step, after which a run counts as
    hanging: its stacks are written down and it is ended."""
    checkpoint_every: Interval = Interval.parse("2 minutes")
    """How often a checkpoint is saved; one always is at the end."""
    evaluate_every: Interval | None = None
    """Default: ten times over the run."""
    evaluate_rows: int = Field(default=1024, ge=1)
    """Held-out rows of an evaluation during training; the last one reads all of them."""
    sample_every: Interval | None = None
    """How often the model writes a sample. Default: at each evaluation."""
    prompts: tuple[str, ...] = ()
    """What samples begin with; by default nothing."""
    shards: str | None = None
    """Folder or URL that machines share, such as `s3://bucket/tk`: prepared tokens of texts are kept there too, and
    taken from there instead of made again. Credentials are those that the store's driver finds in its environment."""
    tokenise_processes: int = Field(default=1, ge=1)
    """Processes of each rank that tokenise a corpus of several files at once; what comes of it is the same. One
    already encodes on every core: more help where reading and decompressing keep it waiting."""
    keep: Keep = Keep()
    """Which checkpoints stay on disk."""
    rates: Rates = Rates()
    """Prices for the plan's account of cost: per_hour, or watts and per_kwh; currency."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.shards is not None and credentials_of(self.shards):
            yield Conflict(
                ("shards",),
                "holds credentials, which a run would keep. Leave them to the store's environment, such as "
                "AWS_ACCESS_KEY_ID.",
            )
