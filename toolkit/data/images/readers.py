"""Where images and recordings come from: rows with an `image`, or a recording in its place, and a `label`."""

import gzip
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toolkit.data.errors import DataError
from toolkit.data.records import Record, read_records
from toolkit.data.sources.files import Files
from toolkit.data.sources.hub import Hub
from toolkit.data.sources.rows import missing_key
from toolkit.spec.data import FilesSource, HubSource, ImageSource
from toolkit.spec.images import AudioSource, DigitsSource, FolderSource, ParquetSource

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3"})


class ImageReader(Protocol):
    """An opened source."""

    @property
    def name(self) -> str:
        """For messages."""

    def identity(self) -> dict[str, Any]:
        """JSON that changes whenever the rows may have. Raises DataError if the source is missing."""

    def records(self) -> Iterator[Record]:
        """The rows in a fixed order: `image`, encoded or as an array, and `label`, a text or None."""


def open_images(source: ImageSource, cache: Path | None = None) -> ImageReader:
    """The reader of a source. `cache` is where hashes of unchanged files are remembered."""
    match source:
        case DigitsSource():
            return Digits()
        case FolderSource():
            return Folder(source.path, IMAGES, cache)
        case ParquetSource():
            return Table(source.path, source.image_key, source.label_key, cache)
        case AudioSource():
            if Path(source.path).expanduser().is_dir() and not _holds(source.path, ".parquet"):
                return Folder(source.path, SOUNDS, cache)
            return Table(source.path, source.audio_key, source.label_key, cache)
        case HubSource():
            return HubImages(source, cache)


class Digits:
    """The digits of scikit-learn, read without importing it."""

    name = "the digits of scikit-learn"

    def _content(self) -> bytes:
        found = importlib.util.find_spec("sklearn")
        if found is None or not found.submodule_search_locations:
            raise DataError(self.name, "scikit-learn is not installed; pip install scikit-learn")
        file = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
        try:
            return file.read_bytes()
        except OSError as error:
            raise DataError(file, f"can't be read: {error.strerror}") from error

    def identity(self) -> dict[str, Any]:
        return {"kind": "digits", "content": hashlib.sha256(self._content()).hexdigest()}

    def records(self) -> Iterator[Record]:
        lines = gzip.decompress(self._content()).decode("ascii").splitlines()
        for number, line in enumerate(lines, start=1):
            *shades, label = (int(float(value)) for value in line.split(","))
            image = np.round(np.array(shades).reshape(8, 8) * (255 / 16)).astype(np.uint8)
            yield Record({"image": image, "label": str(label)}, f"digits:{number}")


class Folder:
    """Every image, or recording, below a folder; where folders stand between, the first names the class."""

    def __init__(self, path: str, endings: frozenset[str], cache: Path | None = None) -> None:
        self._files = Files(FilesSource(kind="files", path=path), cache)
        self._endings = endings

    @property
    def name(self) -> str:
        return self._files.name

    def identity(self) -> dict[str, Any]:
        return {"kind": "folder", "files": self._files.identity()["files"]}

    def records(self) -> Iterator[Record]:
        found = False
        for file in self._files.files:
            if file.path.suffix.lower() not in self._endings:
                continue
            found = True
            parts = Path(file.name).parts
            try:
                content = file.path.read_bytes()
            except OSError as error:
                raise DataError(file.path, f"can't be read: {error.strerror}") from error
            yield Record({"image": content, "label": parts[0] if len(parts) > 1 else None}, str(file.path))
        if not found:
            raise DataError(self.name, f"no file below it ends in {', '.join(sorted(self._endings))}")


class Table:
    """Parquet files with a column of images or recordings."""

    def __init__(self, path: str, key: str, label_key: str | None, cache: Path | None = None) -> None:
        self._files = Files(FilesSource(kind="files", path=path), cache)
        self._key = key
        self._label_key = label_key

    @property
    def name(self) -> str:
        return self._files.name

    def identity(self) -> dict[str, Any]:
        files = self._files.identity()["files"]
        return {"kind": "parquet", "keys": [self._key, self._label_key], "files": files}

    def records(self) -> Iterator[Record]:
        for file in self._files.files:
            if file.path.suffix.lower() == ".parquet":
                for record in read_records(file.path, "parquet", "utf-8"):
                    yield _labelled(record, self._key, self._label_key, "image_key or audio_key")


class HubImages:
    """A data set of the hub with a column of images."""

    def __init__(self, source: HubSource, cache: Path | None = None) -> None:
        self._source = source
        self._hub = Hub(source, cache)

    @property
    def name(self) -> str:
        return self._hub.name

    def identity(self) -> dict[str, Any]:
        return self._hub.identity()

    def records(self) -> Iterator[Record]:
        source = self._source
        for number, row in enumerate(self._hub.rows(), start=1):
            if source.max_documents is not None and number > source.max_documents:
                return
            record = Record(row, f"{source.path}:{number}")
            yield _labelled(record, str(source.image_key), source.label_key, "image_key")


def _labelled(record: Record, key: str, label_key: str | None, option: str) -> Record:
    if key not in record.values:
        raise DataError(record.origin, missing_key(key, record.values).replace("text_key", option))
    label = record.values.get(label_key) if label_key else None
    named = None if label is None else str(label)
    return Record({"image": record.values[key], "label": named}, record.origin)


def _holds(path: str, ending: str) -> bool:
    return next(Path(path).expanduser().rglob(f"*{ending}"), None) is not None
