"""Who a process is, so that neither a reused pid nor a reboot nor another host is taken for it."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some machine. `started` is in the machine's own units, only good for comparing."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: float

    @staticmethod
    def current() -> "Process":
        pid = os.getpid()
        return Process(socket.gethostname(), _boot(), _namespace(), pid, _started(pid) or 0.0)

    def alive(self) -> bool | None:
        """Whether it still runs; None where that can't be seen from here: another host or container."""
        if self.host != socket.gethostname():
            return None
        if self.boot != _boot():
            return False
        if self.namespace != _namespace():
            return None
        return _started(self.pid) == self.started

    def suspended(self) -> bool:
        """Whether it is seen to be stopped by a signal such as SIGSTOP. Call it for one that is alive."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
        except (OSError, IndexError):
            return False


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        import psutil

        return str(int(psutil.boot_time()))


@cache
def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> float | None:
    """When the process started; None if it is gone or only a zombie is left."""
    if not Path("/proc/self/stat").exists():
        return _started_portable(pid)
    try:
        # The name, in brackets, may hold spaces and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else float(fields[19])


def _started_portable(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
