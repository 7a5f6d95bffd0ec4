"""What is known of a prepared corpus: written by `data` when it has read the sources, read by the plan."""

import os
import platform
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.plan.fingerprint import fingerprint
from toolkit.plan.parent import ParentRecord
from toolkit.spec.data import Data
from toolkit.spec.places import is_url
from toolkit.spec.target import RECIPE, Finetune
from toolkit.store.atomic import write_atomic

FACTS_VERSION = 1
"""Raised when the same `[data]` would be cut into other tokens or rows."""

Count = Annotated[int, Field(ge=0)]


class SplitFacts(BaseModel):
    """The training or the held-out part of a source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: Count = 0
    bytes: Count = 0
    """UTF-8 bytes of the documents' text."""
    tokens: Count = 0
    """Tokens to predict, each counted once; a document's end is one of them."""
    rows: Count = 0
    """Rows of `data.sequence_length` slots that these tokens are packed into."""

    def __add__(self, other: "SplitFacts") -> "SplitFacts":
        return SplitFacts(
            documents=self.documents + other.documents,
            bytes=self.bytes + other.bytes,
            tokens=self.tokens + other.tokens,
            rows=self.rows + other.rows,
        )


class SourceFacts(BaseModel):
    """One source of the mix, in the order of `data.sources`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    fingerprint: str
    """Of the source's content as it was read."""
    train: SplitFacts
    validation: SplitFacts
    duplicates: Count = 0
    """Documents dropped because an equal one came before, in this source or an earlier one."""
    skipped: Count = 0
    """Documents left out because they were empty or could not be read as text; labelled rows that can't be used."""
    first_skipped: str | None = None
    """Where the first labelled row that was skipped stands, and why."""
    cut: Count = 0
    """Labelled rows that were longer than the model takes."""


class CorpusFacts(BaseModel):
    """A prepared corpus. Its fingerprint covers the content, so changed files are noticed at resume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = FACTS_VERSION
    fingerprint: str
    """Of the sources' fingerprints, the tokenizer and the rows' cut."""
    vocab_size: int = Field(ge=1)
    """Of the tokenizer as trained: a small corpus may not fill the size asked for."""
    sources: tuple[SourceFacts, ...]
    labels: tuple[str, ...] = ()
    """Names of the classes of labelled data, by number."""
    shape: tuple[int, ...] = ()
    """Of images: channels, height, width."""
    mean_length: float | None = None
    """Positions of a labelled row, on average; None where all rows are full."""
    longest: int | None = None
    """Positions of the longest labelled row."""

    @property
    def train(self) -> SplitFacts:
        """Training parts of all sources together; its rows are one epoch."""
        return sum((source.train for source in self.sources), SplitFacts())

    @property
    def validation(self) -> SplitFacts:
        """Held-out parts of all sources together."""
        return sum((source.validation for source in self.sources), SplitFacts())


def cache_root() -> Path:
    """Folder of what can be made again: `TK_CACHE`, else `~/.cache/tk`. It need not exist."""
    configured = os.environ.get("TK_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "tk"


def data_key(data: Data) -> str:
    """Names the facts of a `[data]` section on this machine: relative paths are read from the working folder.

    A check of the section, not of the files behind it: those are in `CorpusFacts.fingerprint`.
    """
    section = data.model_dump(mode="json")
    for source in section["sources"]:
        source.pop("streaming", None)
        if source["kind"] == "python_stdlib":
            source["python"] = platform.python_version()
        else:
            _resolve_local_path(source)
    _resolve_local_path(section["tokenizer"])
    return fingerprint({"version": FACTS_VERSION, "data": section})[:32]


def labelled_key(target: Finetune, parent: ParentRecord, *, seed: int, sequence_length: int) -> str:
    """Names the facts of a fine-tune's data on this machine, as `data_key` does those of a pretraining's."""
    section = target.model_dump(mode="json", exclude=set(RECIPE))
    for name in ("path", "validation_path"):
        if section["data"].get(name) is not None:
            _resolve_local_path(section["data"], name)
    if section["data"]["kind"].startswith("python_stdlib"):
        section["data"]["python"] = platform.python_version()
    drawn = seed if target.data.limit is not None else None
    rest = {"parent": parent.fingerprint, "seed": drawn, "sequence_length": sequence_length}
    return fingerprint({"version": FACTS_VERSION, "target": section, **rest})[:32]


def read_facts(data: Data, *, cache: Path | None = None) -> CorpusFacts | None:
    """The facts of `data`, or None when it has not been prepared here (or by another version)."""
    return _read(_path(data_key(data), cache))


def write_facts(data: Data, facts: CorpusFacts, *, cache: Path | None = None) -> None:
    """Keep the facts of `data`; call it when every shard and row index is in place."""
    _write(_path(data_key(data), cache), facts)


def read_labelled_facts(key: str, *, cache: Path | None = None) -> CorpusFacts | None:
    """The facts of a fine-tune's data, by the stage's `data_key`; None when it was not prepared here."""
    return _read(_path(key, cache))


def write_labelled_facts(key: str, facts: CorpusFacts, *, cache: Path | None = None) -> None:
    """Keep the facts of a fine-tune's data."""
    _write(_path(key, cache), facts)


def _path(key: str, cache: Path | None) -> Path:
    return (cache or cache_root()) / "facts" / f"{key}.json"


def _read(path: Path) -> CorpusFacts | None:
    try:
        facts = CorpusFacts.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return facts if facts.version == FACTS_VERSION else None


def _write(path: Path, facts: CorpusFacts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, facts.model_dump_json(indent=1).encode())


def _resolve_local_path(section: dict[str, Any], name: str = "path") -> None:
    """A hub name stays as it is unless a folder of that name is here."""
    path = section.get(name)
    if path is not None and not is_url(path) and (section["kind"] == "files" or Path(path).exists()):
        section[name] = str(Path(path).expanduser().absolute())
