"""What a supervisor hands to its worker, as JSON on standard input."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from toolkit.spec.spec import PRETRAIN, Spec
from toolkit.spec.tune import HeadTune
from toolkit.store.runs import RunFolder

JOB_FILE = "TK_JOB"
"""Variable that names the file with the job of a rank; without it the job comes on standard input."""
STATUS_FILE = "TK_STATUS"
"""Variable that names where a machine's first rank leaves its exit status: an agent tells only 0 and 1."""


class Launch(BaseModel):
    """How many ranks carry a job out, and how they meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nproc: int = Field(default=1, ge=1)
    """Ranks on each machine."""
    nodes: int = Field(default=1, ge=1)
    """Machines."""
    min_nodes: int | None = None
    """Go on with so many."""
    rendezvous: str | None = None
    """HOST:PORT where the machines meet; None on one machine."""
    run_id: str = "tk"
    patience: int = 900
    """Seconds to wait for the other machines."""
    max_restarts: int = Field(default=0, ge=0)

    @property
    def alone(self) -> bool:
        """Whether one process does it all."""
        return self.nproc == 1 and self.nodes == 1


class Job(BaseModel):
    """A stage of a spec to carry out in a run folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["run", "probe", "replay"] = "run"
    root: Path
    """The runs folder."""
    name: str
    stage: str = "pretrain"
    spec: Spec
    """Overrides applied, nothing derived."""
    text: str
    """The user's file as it is."""
    launch: Launch = Launch()
    asked_for: bool = True
    """False for a parent that comes along because a child needs it."""
    quiet: bool = False
    """Print nothing of it to the terminal; its console.log has everything."""
    keep_weights: bool = True
    """False to remove the checkpoints once it is finished. Their manifests stay, and so do scores and lineage."""

    @property
    def divisible(self) -> bool:
        """Whether ranks can share the work; not for a head on vectors that are computed once."""
        return self.stage == PRETRAIN or not isinstance(self.spec.finetune[self.stage].tune, HeadTune)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.root, self.name, self.stage)
