"""`[data]`: what the model reads, and how it is cut into tokens and rows, or into patches."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.images import (
    AudioSource,
    DigitsSource,
    FolderSource,
    ImageSize,
    ParquetSource,
    Shape,
    Weight,
)
from toolkit.spec.section import Conflict, Section

Modality = Literal["text", "image", "audio"]


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
    image_key: str | None = None
    """The column that holds images, for a data set of images."""
    label_key: str | None = "label"
    """The column that holds labels of images, for the scores during training; it may be missing."""
    revision: str | None = None
    """Branch, tag or commit; pin a commit for a reproducible run."""
    streaming: bool = True
    """Read over the network as needed, instead of downloading everything first."""
    max_documents: int | None = Field(default=None, ge=1)
    """Stop after so many documents."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


class FastaSource(Section):
    """Sequences of FASTA files (`>name`, then lines of letters), plain or compressed: proteins, DNA."""

    kind: Literal["fasta"]
    path: str
    """A file, a folder or a glob (`**` included), relative to the working folder."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


TextSource = PythonStdlibSource | FilesSource | HubSource | FastaSource
ImageSource = DigitsSource | FolderSource | ParquetSource | HubSource | AudioSource
Source = Annotated[
    PythonStdlibSource
    | FilesSource
    | HubSource
    | FastaSource
    | DigitsSource
    | FolderSource
    | ParquetSource
    | AudioSource,
    Field(discriminator="kind"),
]


def modality(source: TextSource | ImageSource) -> Modality:
    """What a source holds."""
    match source:
        case AudioSource():
            return "audio"
        case DigitsSource() | FolderSource() | ParquetSource():
            return "image"
        case HubSource(image_key=str()):
            return "image"
        case _:
            return "text"


class BPETokenizer(Section):
    """Byte-level byte-pair encoding, trained on the sources: lossless on any text."""

    kind: Literal["bpe"]
    vocab_size: int = Field(default=4096, ge=258, le=1_000_000)
    mask_token: bool = False
    """Have a token `[MASK]`; on by itself for `masked_lm`."""


class UnigramTokenizer(Section):
    """Unigram language model (Kudo 2018), trained on the sources, with byte fallback."""

    kind: Literal["unigram"]
    vocab_size: int = Field(default=4096, ge=300, le=1_000_000)
    mask_token: bool = False
    """Have a token `[MASK]`; on by itself for `masked_lm`."""


class WordPieceTokenizer(Section):
    """WordPiece as BERT uses it, trained on the sources."""

    kind: Literal["wordpiece"]
    vocab_size: int = Field(default=4096, ge=300, le=1_000_000)
    lowercase: bool = True


class BytesTokenizer(Section):
    """One token a byte, and one for the end of a text."""

    kind: Literal["bytes"]

    mask_token: bool = False
    """Have a token `[MASK]`; on by itself for `masked_lm`."""

    @property
    def vocab_size(self) -> int:
        return 257 + self.mask_token


class CharactersTokenizer(Section):
    """One token a character; characters beyond the vocabulary, the rarest, become `<unk>`."""

    kind: Literal["characters"]
    vocab_size: int = Field(default=256, ge=4, le=200_000)
    mask_token: bool = False
    """Have a token `[MASK]`; on by itself for `masked_lm`."""


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
    """`[data]`: sources, and how they become rows: a tokenizer and a length, or the size of images."""

    root: str | None = None
    """Folder that relative paths of data start from, those of the fine-tunes too; by default the working folder."""
    sequence_length: int = Field(default=256, ge=8, le=1_048_576)
    """Tokens in a row of text."""
    validation: float = Field(default=0.01, gt=0, le=0.5)
    """Share of documents, or of images, held out, chosen by content hash."""
    tokenizer: Tokenizer = BPETokenizer(kind="bpe")
    """How text becomes tokens: trained on the sources, or read."""
    image_size: ImageSize | None = None
    """What images are resized to; of `digits` 8 by default, of other images it must be said."""
    channels: Literal[1, 3] | None = None
    """Colour (3) or grey (1). Default: 1 for `digits` and recordings, else 3."""
    sources: tuple[Source, ...] = (PythonStdlibSource(kind="python_stdlib"),)
    """Where documents or images come from, all of one kind; rows are drawn from each by its weight."""

    @property
    def modality(self) -> Modality:
        """What the sources hold; of an imported model, which has none, what it reads."""
        if self.sources:
            return modality(self.sources[0])
        return "text" if self.image_size is None else "image"

    @property
    def image_shape(self) -> Shape:
        """Channels, height and width of the rows; zeros for text."""
        first = self.sources[0] if self.sources else None
        if isinstance(first, AudioSource):
            return (1, first.mel_bands, first.columns)
        if self.modality == "text":
            return (0, 0, 0)
        size = self.image_size or 8
        height, width = (size, size) if isinstance(size, int) else size
        grey = all(isinstance(source, DigitsSource) for source in self.sources)
        return (self.channels or (1 if grey else 3), height, width)

    def conflicts(self) -> Iterator[Conflict]:
        kinds = sorted({modality(source) for source in self.sources})
        if len(kinds) > 1:
            yield Conflict(
                ("sources",), f"{' and '.join(kinds)} can't be mixed. Name sources of one of them."
            )
            return
        if self.modality == "image":
            if self.image_size is None and not all(isinstance(s, DigitsSource) for s in self.sources):
                yield Conflict(("image_size",), "missing. Say what images are resized to, such as 32.")
            if self.image_size is not None and min(self.image_shape) < 1:
                yield Conflict(("image_size",), f"{self.image_size} is no size. Write a number of pixels.")
        else:
            for key in ("image_size", "channels"):
                if getattr(self, key) is not None:
                    yield Conflict((key, "sources"), f"has no meaning for {self.modality}. Leave it out.")
        audio = [source for source in self.sources if isinstance(source, AudioSource)]
        if len({(s.mel_bands, s.columns) for s in audio}) > 1:
            yield Conflict(("sources",), "spectrograms of several sizes can't be mixed.")
