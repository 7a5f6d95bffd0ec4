"""Files of stores elsewhere, by any fsspec driver (s3, gs, az, hf, http, memory), read like files of this machine."""

import errno
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from toolkit.data.errors import DataError
from toolkit.data.sources.reach import why_unreachable

T = TypeVar("T")

LOCAL = ("file://", "local://")
_DRIVERS = {
    protocol: package
    for package, protocols in {
        "aiohttp": ("http", "https"),
        "s3fs": ("s3", "s3a"),
        "gcsfs": ("gs", "gcs"),
        "adlfs": ("az", "abfs"),
    }.items()
    for protocol in protocols
}
# What stores call the checksum of a file, then what they call the time of its last change.
_VERSIONS = (
    *("ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "xet_hash", "blob_id"),
    *("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "modify"),
)
_MAGIC = re.compile(r"[*?[]")
_BLOCK = 8 << 20
"""Bytes fetched at once."""
WAITS = (1.0, 5.0, 20.0)
"""Seconds before a read that broke off is tried again."""


@dataclass(frozen=True)
class Store:
    """A driver, and where it starts."""

    driver: Any
    path: str
    protocol: str

    @property
    def is_web(self) -> bool:
        return self.protocol in ("http", "https")

    def url(self, path: str) -> str:
        return path if "://" in path else f"{self.protocol}://{path.removeprefix('/')}"


@dataclass(frozen=True)
class Remote:
    """A file of a store, with those parts of a `Path` that readers use."""

    store: Store = field(repr=False)
    path: str
    info: Mapping[str, Any] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.store.url(self.path)

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(urlsplit(self.path).path if self.store.is_web else self.path)

    @property
    def name(self) -> str:
        return self._pure.name

    @property
    def suffix(self) -> str:
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        return self._pure.suffixes

    @property
    def size(self) -> int | None:
        """Bytes, where the store tells."""
        size = self.info.get("size")
        return size if isinstance(size, int) else None

    @property
    def version(self) -> str | None:
        """Size and checksum, or time of the last change, as the store tells them; None if it tells neither."""
        for key in _VERSIONS:
            if self.info.get(key):
                return f"{self.size} {key} {self.info[key]}"
        return None

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The file's bytes. Reading raises OSError whatever the driver raises, after some tries."""
        assert mode == "rb"
        return io.BufferedReader(_Stream(self), 1 << 20)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()


Place = Path | Remote
"""A file to read."""


def size_of(place: Place) -> int | None:
    """Bytes of a file, where that is known."""
    return place.size if isinstance(place, Remote) else place.stat().st_size


def open_store(url: str) -> Store:
    """The driver of a URL. Raises DataError where it is missing or can't be had, with the way out."""
    if "::" in url:
        raise DataError(url, "chained URLs are not read; name the store itself, as in s3://bucket/folder")
    protocol = url.partition("://")[0]
    if protocol == "hf" and (reason := why_unreachable()) is not None:
        raise DataError(url, f"can't be reached on the hub: {reason}")
    from fsspec.core import url_to_fs

    options = {"auto_mkdir": True} if url.startswith(LOCAL) else {"use_listings_cache": False}
    try:
        driver, path = url_to_fs(url, **options)
    except ImportError as error:
        package = _DRIVERS.get(protocol)
        way = f"pip install {package}" if package else str(error)
        raise DataError(url, f"no driver for {protocol}:// is installed: {way}") from None
    except ValueError as error:
        raise DataError(url, f"no store is reached by {protocol}:// ({error})") from None
    except Exception as error:
        raise DataError(url, f"can't be opened: {reason_of(error)}") from error
    return Store(driver, path, protocol)


def find(url: str) -> dict[str, Remote]:
    """The files of a URL by their names: one, those below a folder, or those that a glob matches.

    Raises DataError where the store can't be reached.
    """
    store = open_store(url)
    with telling(url):
        if magic := _MAGIC.search(store.path.partition("?")[0] if store.is_web else store.path):
            root = store.path[: magic.start()].rpartition("/")[0]
            found = store.driver.glob(store.path, detail=True)
        else:
            root = store.path.rstrip("/")
            try:
                info = store.driver.info(store.path)
            except FileNotFoundError as error:
                if store.is_web:
                    raise OSError(reason_of(error.__cause__ or error)) from error
                info = {"type": "directory"}  # stores of objects have no folders of their own
            if info.get("type") != "directory":
                file = Remote(store, store.path, info)
                return {file.name: file}
            found = store.driver.find(store.path, detail=True)
    files = {path: Remote(store, path, info) for path, info in found.items() if info.get("type") == "file"}
    return {path.removeprefix(root).removeprefix("/"): file for path, file in files.items()}


@contextmanager
def telling(url: str) -> Iterator[None]:
    """Raises DataError for whatever a driver raises."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(url, f"can't be reached: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """An error of a driver in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") or type(error).__name__


class _Stream(io.RawIOBase):
    """The bytes of a file. A read that breaks off is tried again from its place."""

    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self._remote = remote
        self._place = 0
        self._file: Any = None
        self._whole = False
        self._try(lambda: None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = self._try(lambda: int(self._file.seek(offset, whence)))
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._try(lambda: self._file.read(len(buffer)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()

    def _try(self, act: Callable[[], T]) -> T:
        for wait in (*WAITS, None):
            try:
                self._open()
                return act()
            except (FileNotFoundError, PermissionError) as error:
                raise _failed(error) from error
            except ValueError as error:
                # Of a server that knows no ranges a file can only be had from its beginning.
                if self._whole or not self._remote.store.is_web:
                    raise _failed(error) from error
                self._file, self._whole = None, True
            except Exception as error:
                if wait is None:
                    raise _failed(error) from error
                self._file = None
                time.sleep(wait)
        raise AssertionError

    def _open(self) -> None:
        if self._file is not None:
            return
        block_size = 0 if self._whole else _BLOCK
        self._file = self._remote.store.driver.open(self._remote.path, "rb", block_size=block_size)
        if not self._whole:
            self._file.seek(self._place)
        while (left := self._place - self._file.tell()) > 0:
            self._file.read(min(left, _BLOCK))


def _failed(error: Exception) -> OSError:
    """With a number: without one it would be taken for a sign of spoiled content."""
    return OSError(errno.EIO, reason_of(error))
