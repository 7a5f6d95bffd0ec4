"""The interpreter's own library sources and the prose of `pydoc_data.topics`: real text with no network."""

import hashlib
import importlib
import os
import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from toolkit.data.errors import DataError
from toolkit.data.sources.document import Document

# Installed packages, tests, programs that happen to be shipped, and bundled wheels.
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "_bundled",
    "__pycache__",
}
_TOPICS = "pydoc_data/topics.py"


class PythonStdlib:
    """Library sources in path order, then each topic of the reference manual in name order."""

    name = "the Python standard library"

    @cached_property
    def _files(self) -> list[tuple[str, Path]]:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = []
        for folder, below, names in os.walk(root):
            below[:] = [name for name in below if name not in _LEFT_OUT]
            paths = [Path(folder, name) for name in names if name.endswith(".py")]
            found += [(path.relative_to(root).as_posix(), path) for path in paths]
        found = [file for file in found if file[0] != _TOPICS]
        if not found:
            raise DataError(
                root, 'this Python keeps no library sources here; name other text with kind = "files"'
            )
        return sorted(found)

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for _, path in self._files) + sum(map(len, _topics().values()))

    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for name, path in self._files:
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        for name, text in sorted(_topics().items()):
            digest.update(f"{name}\0{hashlib.sha256(text.encode()).hexdigest()}\n".encode())
        return {"kind": "python_stdlib", "python": platform.python_version(), "content": digest.hexdigest()}

    def shares(self) -> tuple[()]:
        return ()

    def documents(self, skip: int = 0) -> Iterator[Document]:
        return islice(self._all(), skip, None)

    def _all(self) -> Iterator[Document]:
        for name, path in self._files:
            try:
                with tokenize.open(path) as file:  # obeys the file's coding line
                    text = file.read()
            except (SyntaxError, UnicodeDecodeError):
                text = ""
            yield Document(text, name)
        for name, text in sorted(_topics().items()):
            yield Document(text, f"pydoc_data.topics:{name}")


def _topics() -> dict[str, str]:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some distributions leave the manual out
        return {}
    return topics
