"""Labelled data: rows with fields, for fine-tuning. Which field means what is for the target to say."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.section import Allowed, Section

Keys = Annotated[str | tuple[str, ...], Allowed("a key in quotes, or a list of keys")]


class LabelledSource(Section):
    """What every source of labelled rows can be told."""

    validation: float = Field(default=0.1, gt=0, le=0.5)
    """Share of rows held out, chosen by content hash, where no held-out rows are named."""
    limit: int | None = Field(default=None, ge=1)
    """Train on so many rows only, drawn by the seed; held-out rows stay as they are."""


class LabelledFiles(LabelledSource):
    """Rows of JSONL, JSON, Parquet, CSV or CoNLL files, plain or compressed (.gz, .zst)."""

    kind: Literal["files"]
    path: str
    """A file, a folder or a glob (`**` included), relative to the working folder."""
    validation_path: str | None = None
    """Held-out rows; without it a share of `path` is held out."""
    format: Literal["auto", "jsonl", "json", "parquet", "csv", "conll"] = "auto"
    """How to read a file; `auto` goes by its ending."""
    encoding: str = "utf-8"
    """Character set of the files, by its Python name."""


class LabelledHub(LabelledSource):
    """A data set of the Hugging Face hub, or any local folder that the `datasets` library opens."""

    kind: Literal["hub"]
    path: str
    """Name on the hub, such as `fancyzhx/ag_news`, or a local folder."""
    name: str | None = None
    """Configuration of the data set."""
    split: str = "train"
    """Split to train on, in the form that `datasets` takes."""
    validation_split: str | None = None
    """Split that is held out; without it a share of `split` is."""
    revision: str | None = None
    """Branch, tag or commit; pin a commit for a reproducible run."""


class PythonFunctions(LabelledSource):
    """Functions of the interpreter's own library. Needs no network.

    Fields: `prompt` (the signature and docstring), `body`, `code` (all of it) and `package` (the top-level
    module or package that it is from, the `packages` largest ones).
    """

    kind: Literal["python_stdlib_functions"]
    packages: int = Field(default=10, ge=2, le=100)
    """Keep functions of so many packages, the largest."""
    longest: int = Field(default=600, ge=50)
    """Leave out functions of more characters."""


class LabelledDigits(LabelledSource):
    """The 1,797 scans of handwritten digits that scikit-learn ships. Fields: `image` and `label`."""

    kind: Literal["digits"]


class LabelledFolder(LabelledSource):
    """Images or recordings below a folder, in one folder for each class.

    Fields: `image` or `audio`, and `label`, the name of the first folder on the way.
    """

    kind: Literal["folder"]
    path: str
    """The folder, relative to the working folder."""
    validation_path: str | None = None
    """A folder of held-out rows; without it a share of `path` is held out."""


Labelled = Annotated[
    LabelledFiles | LabelledHub | PythonFunctions | LabelledDigits | LabelledFolder,
    Field(discriminator="kind"),
]
