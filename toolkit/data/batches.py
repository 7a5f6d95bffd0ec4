"""Batches ready before they are asked for."""

import queue
import threading
from collections.abc import Iterator
from types import TracebackType

from toolkit.data.dataset import Arrays, Split
from toolkit.data.rows import Rows

_POLL_SECONDS = 0.1


class Batches:
    """The micro-batches of the steps from `start_step` to `steps` - 1, prepared by a thread two steps ahead.

    Yields, a step, the list of this rank's micro-batches: those numbered rank, rank + world, … of the global
    batch. Their contents don't depend on the ranks. Use it in a `with`, or call `close`.

    Args:
        micro_rows: Rows of a micro-batch; the last one of a batch may be smaller.
        batch_rows: Rows of the global batch.
        ranks: (rank, number of ranks).
    """

    def __init__(
        self,
        split: Split,
        *,
        seed: int,
        start_step: int,
        steps: int,
        micro_rows: int,
        batch_rows: int,
        ranks: tuple[int, int] = (0, 1),
        depth: int = 2,
    ) -> None:
        self._split = split
        self._seed = seed
        self._steps = range(start_step, steps)
        self._batch_rows = batch_rows
        rank, world = ranks
        starts = range(0, batch_rows, micro_rows)[rank::world]
        self._micro = [(start, min(start + micro_rows, batch_rows)) for start in starts]
        self._ready: queue.Queue[list[Rows | Arrays] | BaseException | None] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[list[Rows | Arrays]]:
        while True:
            item = self._ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Ends the thread; what it prepared is dropped."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _work(self) -> None:
        try:
            for step in self._steps:
                self._put([self._rows(step, start, stop) for start, stop in self._micro])
                if self._closed.is_set():
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001 - raised again where the batch is asked for
            self._put(error)

    def _rows(self, step: int, start: int, stop: int) -> Rows | Arrays:
        return self._split.rows(step, start, stop, seed=self._seed, batch_rows=self._batch_rows)

    def _put(self, item: list[Rows | Arrays] | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return
