"""`files`: text, JSONL, Parquet and CSV files, plain or compressed."""

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit.data.errors import DataError
from toolkit.data.sources.document import Document
from toolkit.data.sources.remote import LOCAL, Place, Remote, find
from toolkit.data.sources.rows import read_csv, read_jsonl, read_parquet
from toolkit.data.sources.share import COMPRESSED, File, Share
from toolkit.data.sources.text import read_text
from toolkit.plan.fingerprint import fingerprint
from toolkit.spec.data import FilesSource
from toolkit.spec.places import is_url
from toolkit.store.atomic import write_atomic

_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
}
# A file system's clock ticks coarsely: a hash taken this soon after a write may miss the next write.
_SETTLED_NANOSECONDS = 2_000_000_000


class Files:
    """A file, every file below a folder, or those that a glob matches, in the order of their names; on this machine
    or, by a URL, in a store."""

    def __init__(self, source: FilesSource, cache: Path | None = None) -> None:
        self._source = source
        self._cache = cache

    @property
    def name(self) -> str:
        return self._source.path

    @cached_property
    def files(self) -> list[File]:
        return self._find()

    def _find(self) -> list[File]:
        given = self._source.path
        scheme = next((scheme for scheme in LOCAL if given.startswith(scheme)), "")
        if is_url(given) and not scheme:
            return _visible([File(name, file) for name, file in find(given).items()], given, _NOTHING_THERE)
        path = Path(given.removeprefix(scheme)).expanduser()
        if path.is_file():
            return [File(path.name, path)]
        if path.is_dir():
            paths, root = [p for p in path.rglob("*") if p.is_file()], path
        else:
            # Path.glob can't start at an absolute pattern.
            matches = glob.glob(str(path), recursive=True)  # noqa: PTH207
            paths = [Path(match) for match in matches if Path(match).is_file()]
            root = Path(os.path.commonpath([p.parent for p in paths])) if paths else path
        found = [File(p.relative_to(root).as_posix(), p) for p in paths]
        return _visible(found, given, _why_nothing(path) if not found else "it holds hidden files only")

    @property
    def size(self) -> int | None:
        return self._share.size

    def identity(self) -> dict[str, Any]:
        known = self._known_hashes()
        # Listed anew: what a store tells of its files is of the moment when it was asked.
        hashes = {file.name: _hash(file, known) for file in self._find()}
        if self._cache is not None and hashes != known and not is_url(self._source.path):
            path = self._hashes_path(self._cache)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps(hashes).encode())
        source = self._source
        return {
            "kind": "files",
            "format": source.format,
            "text_key": source.text_key,
            "encoding": source.encoding,
            "files": [[name, entry["sha256"]] for name, entry in hashes.items()],
        }

    def documents(self, skip: int = 0) -> Iterator[Document]:
        return self._share.documents(skip)

    def shares(self) -> list[Share]:
        return self._share.divided()

    @property
    def _share(self) -> Share:
        return Share(self.name, self.files, self._read)

    def _read(self, file: File) -> Iterator[Document]:
        kind = self._format(file.path)
        if kind == "text":
            return read_text(file.path, self._source.encoding, alone=len(self.files) == 1)
        if kind == "jsonl":
            return read_jsonl(file.path, self._source.text_key, self._source.encoding)
        if kind == "csv":
            return read_csv(file.path, self._source.text_key, self._source.encoding)
        return read_parquet(file.path, self._source.text_key)

    def _format(self, path: Place) -> str:
        if self._source.format != "auto":
            return self._source.format
        suffixes = [suffix.lower() for suffix in path.suffixes]
        if suffixes and suffixes[-1] in COMPRESSED:
            suffixes.pop()
        return _FORMATS.get(suffixes[-1], "text") if suffixes else "text"

    def _hashes_path(self, cache: Path) -> Path:
        place = str(Path(self._source.path).expanduser().absolute())
        return cache / "hashes" / f"{fingerprint(place)[:32]}.json"

    def _known_hashes(self) -> dict[str, dict[str, Any]]:
        if self._cache is None or is_url(self._source.path):
            return {}
        try:
            known = json.loads(self._hashes_path(self._cache).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _hash(file: File, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The file's sha256, from memory when its size, inode and times are those it was hashed at; of a file in a
    store what the store tells, its checksum or the time of its last change."""
    if isinstance(file.path, Remote):
        return {"sha256": file.path.version or _sha256(file.path)}
    status = file.path.stat()
    stamp = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    entry = known.get(file.name)
    if entry is not None and entry.get("stamp") == stamp:
        return entry
    digest = _sha256(file.path)
    settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NANOSECONDS
    return {"sha256": digest, "stamp": stamp if settled else None}


def _sha256(path: Place) -> str:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(path, f"can't be read: {error.strerror}") from error


def _visible(files: list[File], given: str, nothing: str) -> list[File]:
    """Those that are not hidden, by name. Raises DataError if there are none."""
    visible = [file for file in files if not any(part.startswith(".") for part in file.name.split("/"))]
    if not visible:
        raise DataError(given, nothing)
    return sorted(visible, key=lambda file: file.name)


_NOTHING_THERE = "no file is there; is the name right, and may these credentials list it?"


def _why_nothing(path: Path) -> str:
    if path.is_dir():
        return "this folder holds no files"
    if glob.has_magic(str(path)):
        return f"no file matches this pattern (relative paths start at {Path.cwd()})"
    near = []
    if path.parent.is_dir():
        near = get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    hint = f" Did you mean {path.parent / near[0]}?" if near else ""
    return f"no such file or folder (relative paths start at {Path.cwd()}).{hint}"
