"""`[data]`: what the model reads, and how it is cut into tokens and rows."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.section import Section

Weight = Annotated[float, Field(gt=0)]


class PythonStdlibSource(Section):
    """The interpreter's own library sources and the prose of `pydoc_data.topics`. Needs no network."""

    kind: Literal["python_stdlib"]
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


class FilesSource(Section):
    """Text files, or rows of JSONL, Parquet or CSV files, plain or compressed (.gz, .zst)."""

    kind: Literal["files"]
    path: str
    """A file, a folder or a glob (`**` included), relative to the working folder."""
    format: Literal["auto", "text", "jsonl", "parquet", "csv"] = "auto"
    """How to read a file; `auto` goes by its ending."""
    text_key: str = "text"
    """The column or key that holds the text, for formats with rows."""
    encoding: str = "utf-8"
    """Character set of the files, by its Python name."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


class HubSource(Section):
    """A data set of the Hugging Face hub, or any local folder that the `datasets` library opens."""

    kind: Literal["hub"]
    path: str
    """Name on the hub, such as `HuggingFaceFW/fineweb-edu`, or a local folder."""
    name: str | None = None
    """Configuration of the data set."""
    split: str = "train"
    """Split of the data set, in the form that `datasets` takes."""
    text_key: str = "text"
    """The column that holds the text."""
    revision: str | None = None
    """Branch, tag or commit; pin a commit for a reproducible run."""
    streaming: bool = True
    """Read over the network as needed, instead of downloading everything first."""
    max_documents: int | None = Field(default=None, ge=1)
    """Stop after so many documents."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


Source = Annotated[PythonStdlibSource | FilesSource | HubSource, Field(discriminator="kind")]


class BPETokenizer(Section):
    """Byte-level byte-pair encoding, trained on the sources: lossless on any text."""

    kind: Literal["bpe"]
    vocab_size: int = Field(default=4096, ge=258, le=1_000_000)


class UnigramTokenizer(Section):
    """Unigram language model (Kudo 2018), trained on the sources, with byte fallback."""

    kind: Literal["unigram"]
    vocab_size: int = Field(default=4096, ge=300, le=1_000_000)


class WordPieceTokenizer(Section):
    """WordPiece as BERT uses it, trained on the sources."""

    kind: Literal["wordpiece"]
    vocab_size: int = Field(default=4096, ge=300, le=1_000_000)
    lowercase: bool = True


class BytesTokenizer(Section):
    """One token a byte, and one for the end of a text."""

    kind: Literal["bytes"]

    @property
    def vocab_size(self) -> int:
        return 257


class CharactersTokenizer(Section):
    """One token a character; characters beyond the vocabulary, the rarest, become `<unk>`."""

    kind: Literal["characters"]
    vocab_size: int = Field(default=256, ge=4, le=200_000)


class PretrainedTokenizer(Section):
    """A `tokenizer.json`, or a Hugging Face folder that holds one."""

    kind: Literal["pretrained"]
    path: str
    """The file or folder, or a name on the hub."""


Tokenizer = Annotated[
    BPETokenizer
    | UnigramTokenizer
    | WordPieceTokenizer
    | BytesTokenizer
    | CharactersTokenizer
    | PretrainedTokenizer,
    Field(discriminator="kind"),
]


class Data(Section):
    """`[data]`: sources, tokenizer, row length and the held-out share."""

    sequence_length: int = Field(default=256, ge=8, le=1_048_576)
    """Tokens in a row."""
    validation: float = Field(default=0.01, gt=0, le=0.5)
    """Share of documents held out, chosen by content hash."""
    tokenizer: Tokenizer = BPETokenizer(kind="bpe")
    """How text becomes tokens: trained on the sources, or read."""
    sources: tuple[Source, ...] = Field(default=(PythonStdlibSource(kind="python_stdlib"),), min_length=1)
    """Where documents come from; rows are drawn from each by its weight."""
