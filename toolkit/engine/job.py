"""What a supervisor hands to its worker, as JSON on standard input."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolkit.spec.spec import Spec
from toolkit.store.runs import RunFolder


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
    asked_for: bool = True
    """False for a parent that comes along because a child needs it."""
    quiet: bool = False
    """Print nothing of it to the terminal; its console.log has everything."""
    keep_weights: bool = True
    """False to remove the checkpoints once it is finished. Their manifests stay, and so do scores and lineage."""

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.root, self.name, self.stage)
