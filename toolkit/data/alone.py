"""One process at a time in a folder of the cache, also where machines share the disk."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.data.progress import Progress, check
from toolkit.store.atomic import remove_temporaries


@contextmanager
def alone(folder: Path, progress: Progress, *, wait: bool = True) -> Iterator[bool]:
    """Holds a folder of the cache: another process that prepares the same waits, and then finds it done.

    Without `wait` it gives False where another process holds the folder. What a killed process held is free again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    yield False
                    return
                check(progress)
                time.sleep(0.1)
        remove_temporaries(folder)
        yield True
