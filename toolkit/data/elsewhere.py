"""A folder in a store: JSON and files that are checked as they come, and driver errors under one name."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from toolkit.data.sources.remote import Remote, open_store, reason_of
from toolkit.spec.places import is_url
from toolkit.store.atomic import JSON_LIMIT, sync, temporary

Model = TypeVar("Model", bound=BaseModel)


class Damaged(Exception):  # noqa: N818 - told in a sentence, and passed over
    """Something there is not what was written."""


class Unreachable(Exception):  # noqa: N818
    """The driver fails."""


class FolderElsewhere:
    """A folder of this machine's disks or, by a URL, of a store. Names in it are relative.

    Every method may raise Unreachable. The constructor raises DataError where the driver is missing.
    """

    def __init__(self, place: str) -> None:
        self._store = open_store(place if is_url(place) else f"file://{Path(place).expanduser().absolute()}")
        self._driver = self._store.driver

    def read(self, name: str, model: type[Model], limit: int = JSON_LIMIT) -> Model | None:
        """The JSON of a file of at most `limit` bytes; None where there is no such file. Raises Damaged."""
        try:
            with _driving():
                size = self._driver.info(self._at(name))["size"]
                content = self._driver.cat_file(self._at(name)) if size <= limit else b""
            return model.model_validate_json(content)
        except FileNotFoundError:
            return None
        except ValidationError:
            raise Damaged(f"{name.rpartition('/')[2]} is damaged") from None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file."""
        with _driving():
            self._driver.pipe_file(self._at(name), content)

    def has(self, name: str, size: int) -> bool:
        """Whether there is a file of this size."""
        try:
            with _driving():
                return bool(self._driver.info(self._at(name))["size"] == size)
        except FileNotFoundError:
            return False

    def put(self, path: Path, name: str) -> None:
        """Send a file there."""
        with _driving():
            self._driver.put_file(str(path), self._at(name))

    def fetch(self, name: str, path: Path, size: int, sha256: str) -> None:
        """Bring a file here, whole or not at all. Raises Damaged unless it has this size and this hash."""
        if not self.has(name, size):
            raise Damaged(f"{path.name} is missing or has not its {size} bytes")
        new, seen = temporary(path), hashlib.sha256()
        try:
            with self._open(name, size) as there, new.open("wb") as here:
                while block := _read_block(there):
                    seen.update(block)
                    here.write(block)
                here.flush()
                sync(here.fileno())
            if seen.hexdigest() != sha256:
                raise Damaged(f"{path.name} is not what was written: its hash is another one")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a folder with all in it."""
        with _driving():
            self._driver.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return f"{self._store.path.rstrip('/')}/{name}"

    def _open(self, name: str, size: int) -> io.BufferedReader:
        with _driving():
            return Remote(self._store, self._at(name), {"size": size}).open()


@contextmanager
def _driving() -> Iterator[None]:
    """Lets FileNotFoundError pass, and gives all else that a driver raises one name."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise Unreachable(reason_of(error)) from error


def _read_block(file: io.BufferedReader) -> bytes:
    with _driving():
        return file.read(1 << 20)
