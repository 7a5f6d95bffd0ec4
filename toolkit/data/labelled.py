"""Where labelled rows come from, and which of them are held out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from toolkit.data.errors import DataError
from toolkit.data.functions import Functions
from toolkit.data.images.readers import IMAGES, SOUNDS, Digits, Folder, ImageReader
from toolkit.data.records import Record, read_records
from toolkit.data.sources.files import Files
from toolkit.data.sources.hub import Hub
from toolkit.data.sources.remote import Place
from toolkit.data.sources.share import COMPRESSED
from toolkit.spec.data import FilesSource, HubSource
from toolkit.spec.labelled import (
    Labelled,
    LabelledDigits,
    LabelledFiles,
    LabelledFolder,
    LabelledHub,
    PythonFunctions,
)

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".conll": "conll",
    ".iob2": "conll",
    ".bio": "conll",
}


class LabelledReader(Protocol):
    """An opened source of labelled rows."""

    @property
    def name(self) -> str:
        """For messages."""

    def identity(self) -> dict[str, Any]:
        """JSON that changes whenever the rows may have. Raises DataError if the source is missing."""

    def train(self) -> Iterator[Record]:
        """The rows to train on; where `validation` has none, some of these are held out."""

    def validation(self) -> Iterator[Record] | None:
        """The held-out rows, where the source names them."""


def open_labelled(source: Labelled, cache: Path | None = None) -> LabelledReader:
    """The reader of a labelled source. `cache` is where hashes of unchanged files are remembered."""
    match source:
        case LabelledFiles():
            return _FileRows(source, cache)
        case LabelledHub():
            return _HubRows(source, cache)
        case PythonFunctions():
            return Functions(source)
        case LabelledDigits():
            return _ImageRows([Digits()])
        case LabelledFolder():
            paths = [source.path] + ([source.validation_path] if source.validation_path else [])
            return _ImageRows([Folder(path, IMAGES | SOUNDS, cache) for path in paths])


class _FileRows:
    def __init__(self, source: LabelledFiles, cache: Path | None) -> None:
        self._source = source
        paths = [source.path] + ([source.validation_path] if source.validation_path else [])
        self._parts = [Files(FilesSource(kind="files", path=path), cache) for path in paths]

    @property
    def name(self) -> str:
        return self._source.path

    def identity(self) -> dict[str, Any]:
        source = self._source
        files = [part.identity()["files"] for part in self._parts]
        return {"kind": "files", "format": source.format, "encoding": source.encoding, "files": files}

    def train(self) -> Iterator[Record]:
        return self._records(self._parts[0])

    def validation(self) -> Iterator[Record] | None:
        return self._records(self._parts[1]) if len(self._parts) > 1 else None

    def _records(self, files: Files) -> Iterator[Record]:
        for file in files.files:
            yield from read_records(file.path, self._format(file.path), self._source.encoding)

    def _format(self, path: Place) -> str:
        if self._source.format != "auto":
            return self._source.format
        suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSED]
        found = _FORMATS.get(suffixes[-1]) if suffixes else None
        if found is None:
            raise DataError(
                path, f"its ending tells no format; set format to one of: {', '.join(set(_FORMATS.values()))}"
            )
        return found


class _ImageRows:
    """Images or recordings with the labels that they come with; the second reader has the held-out ones."""

    def __init__(self, readers: Sequence[ImageReader]) -> None:
        self._readers = readers

    @property
    def name(self) -> str:
        return self._readers[0].name

    def identity(self) -> dict[str, Any]:
        return {"kind": "images", "parts": [reader.identity() for reader in self._readers]}

    def train(self) -> Iterator[Record]:
        return self._records(self._readers[0])

    def validation(self) -> Iterator[Record] | None:
        return self._records(self._readers[1]) if len(self._readers) > 1 else None

    def _records(self, reader: ImageReader) -> Iterator[Record]:
        for record in reader.records():
            field = "audio" if Path(record.origin).suffix.lower() in SOUNDS else "image"
            yield Record({field: record.values["image"], "label": record.values["label"]}, record.origin)


class _HubRows:
    def __init__(self, source: LabelledHub, cache: Path | None) -> None:
        self._source = source
        self._cache = cache

    @property
    def name(self) -> str:
        return self._source.path

    def _part(self, split: str) -> Hub:
        source = self._source
        spec = HubSource(
            kind="hub",
            path=source.path,
            name=source.name,
            split=split,
            revision=source.revision,
            streaming=False,
        )
        return Hub(spec, self._cache)

    def identity(self) -> dict[str, Any]:
        part = self._part(self._source.split).identity()
        return {"kind": "hub", "train": part, "validation_split": self._source.validation_split}

    def train(self) -> Iterator[Record]:
        return self._records(self._source.split)

    def validation(self) -> Iterator[Record] | None:
        split = self._source.validation_split
        return self._records(split) if split else None

    def _records(self, split: str) -> Iterator[Record]:
        for number, row in enumerate(self._part(split).rows(), start=1):
            yield Record(row, f"{self._source.path} {split}:{number}")
