"""The dashboard in a pseudo-terminal: what it sends, and what it does when that goes away."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


class Terminal:
    """A process in a terminal of so many columns and rows. It answers nothing, as a dumb link does."""

    def __init__(
        self,
        *arguments: str | Path,
        columns: int = 80,
        rows: int = 24,
        command: list[str] | None = None,
        start: bool = True,
        **environment: str,
    ) -> None:
        self._command = command or [sys.executable, "-m", "toolkit", "dash", *map(str, arguments)]
        self._size, self._environment = (columns, rows), environment
        if start:
            self.start()

    def start(self) -> None:
        self.received = b""
        self.began = time.monotonic()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            own = ("NO_COLOR", "COLORTERM", "TK_RUNS", "COLUMNS", "LINES")
            known = {k: v for k, v in os.environ.items() if k not in own}
            defaults = {
                "TERM": "xterm-256color",
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "XDG_CONFIG_HOME": "/nonexistent",
                "LANG": "C.UTF-8",
            }
            os.execvpe(self._command[0], self._command, {**known, **defaults, **self._environment})
        columns, rows = self._size
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float, until: bytes | None = None) -> bytes:
        """What it sends in so many seconds, or until it has sent something."""
        data = b""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self.descriptor], [], [], min(left, 0.05))
            if ready:
                try:
                    part = os.read(self.descriptor, 1 << 16)
                except OSError:
                    break
                if not part:
                    break
                data += part
                if until is not None and until in self.received + data:
                    break
        self.received += data
        return data

    def send(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def alive(self) -> bool:
        done, _ = os.waitpid(self.pid, os.WNOHANG)
        return done == 0

    def wait_gone(self, seconds: float) -> float | None:
        """After how many seconds it was gone; None if it is still there."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if not self.alive():
                return time.monotonic() - began
            time.sleep(0.02)
        return None

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def drop(self) -> None:
        """The connection is gone."""
        os.close(self.descriptor)

    def kill(self) -> None:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        with suppress(OSError):
            os.close(self.descriptor)


_SENT_TEXT = re.compile(
    r"\x1b\[(\d+);(\d+)H|\x1b\[([^A-Za-z]*)([A-Za-z])|\x1b[PX^_\]].*?(?:\x1b\\|\x07)|\x1b.|[^\x1b]", re.S
)
"""A move, another control sequence, a string to the terminal, or a character."""


def screen_of(sent: bytes, columns: int, rows: int) -> list[str]:
    """What stands on a terminal that was sent this: text and moves, colours left out."""
    cells = [[" "] * columns for _ in range(rows)]
    row = column = 0
    text = sent.decode(errors="replace")
    for match in _SENT_TEXT.finditer(text):
        if match[1]:
            row, column = int(match[1]) - 1, int(match[2]) - 1
        elif match[4] == "J":
            cells = [[" "] * columns for _ in range(rows)]
        elif match[0] == "\n":
            row += 1
        elif match[0] == "\r":
            column = 0
        elif match[0] >= " " and row < rows and column < columns:
            cells[row][column] = match[0]
            column += 1
    return ["".join(line) for line in cells]
