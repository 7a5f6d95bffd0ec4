"""Text files that grow, read from their end: the console log, and what the model wrote."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

TAIL = 512 * 1024
"""Bytes of a long file that are read at first: the end is what is looked at."""
LINES = 20_000
"""Lines that are kept."""


@dataclass
class TextTail:
    """The lines of a file; `poll` reads what is new."""

    path: Path
    lines: list[str] = field(default_factory=list)
    cut: bool = False
    """Whether the file's beginning was left out."""
    _offset: int = 0
    _rest: bytes = b""
    _inode: int = 0

    def poll(self) -> bool:
        """Read what is new; whether there was anything."""
        try:
            with self.path.open("rb") as file:
                size, inode = file.seek(0, 2), os.fstat(file.fileno()).st_ino
                if size < self._offset or inode != self._inode:  # another file of its name
                    self.lines, self._offset, self._rest, self._inode = [], 0, b"", inode
                    self.cut = False
                if size == self._offset:
                    return False
                if size - self._offset > TAIL:
                    self._offset, self._rest, self.cut = size - TAIL, b"", True
                file.seek(self._offset)
                data = file.read(size - self._offset)
        except OSError:
            return False
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode(errors="replace") for line in whole]
        del self.lines[:-LINES]
        return True


@dataclass(frozen=True)
class Sample:
    """What the model wrote at a step."""

    step: int
    prompt: str
    text: str


def parse_samples(lines: list[str]) -> list[Sample]:
    """Samples from lines of JSON; what is none is passed over."""
    found = []
    for line in lines:
        try:
            item = json.loads(line)
            found.append(Sample(int(item["step"]), str(item.get("prompt", "")), str(item["text"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found
