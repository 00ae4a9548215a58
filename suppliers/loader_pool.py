"""The rate loader pool: loaders that ask for one hotel at a time, as many as there is work for.

Batches take turns hotel by hotel, so a large one holds no small one up; and a hotel that is slow
holds nobody up but its own loader. The pool grows while hotels wait and there are loaders to
spare, and shrinks again after a while without work.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

IDLE_S = 10.0


class Batch(Generic[T, R]):
    """Some hotels of one fetch, and what came of each."""

    def __init__(self, items: Sequence[T], load: Callable[[T], R], at_once: int) -> None:
        self.at_once = at_once or len(items)
        self.running = 0
        self.waiting: deque[T] = deque(items)
        self.load = load
        self.results: queue.SimpleQueue[R | BaseException] = queue.SimpleQueue()
        self.open = len(items)


class LoaderPool(Generic[T, R]):
    """Between `low` and `high` threads. `close` lets those under way end."""

    def __init__(self, *, low: int, high: int, name: str, idle_s: float = IDLE_S) -> None:
        self._low = min(low, high)
        self._high = high
        self._name = name
        self._idle_s = idle_s
        self._change = threading.Condition()
        self._batches: deque[Batch[T, R]] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False
        with self._change:
            for _ in range(self._low):
                self._grow()

    @property
    def size(self) -> int:
        """Loaders now."""
        return self._threads

    def run(
        self, items: Sequence[T], load: Callable[[T], R], *, until_s: float, at_once: int = 0
    ) -> Iterator[R | BaseException | None]:
        """Load all items, at most `at_once` of them together (0: as many as there are loaders);
        yields each result, or what `load` raised, as it comes.

        None is yielded when nothing more came for a moment: whoever gathers may hand on what it
        has. Ends when all came, or at `until_s` (monotonic): what waits then is not loaded.
        """
        batch = Batch[T, R](items, load, at_once)
        with self._change:
            self._batches.append(batch)
            missing = min(len(items), batch.at_once, self._high) - self._idle
            for _ in range(min(missing, self._high - self._threads)):
                self._grow()
            self._change.notify(min(len(items), batch.at_once))
        try:
            while batch.open:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return
                try:
                    result = batch.results.get(timeout=min(left_s, 0.02))
                except queue.Empty:
                    yield None
                    continue
                batch.open -= 1
                yield result
        finally:
            with self._change:
                batch.waiting.clear()
                if batch in self._batches:
                    self._batches.remove(batch)

    def close(self) -> None:
        """Take no more; loaders end after the hotel that they are at."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _grow(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._change:
                found = self._next()
                while found is None and not self._closed:
                    self._idle += 1
                    called = self._change.wait(self._idle_s)
                    self._idle -= 1
                    found = self._next()
                    if found is None and not called and self._threads > self._low:
                        break
                if found is None:
                    self._threads -= 1
                    return
            batch, item = found
            try:
                result: R | BaseException = batch.load(item)
            except BaseException as error:  # noqa: BLE001 (it is the batch's to judge)
                result = error
            with self._change:
                batch.running -= 1
                if batch.waiting:
                    self._change.notify()
            batch.results.put(result)

    def _next(self) -> tuple[Batch[T, R], T] | None:
        """The next item of the batch whose turn it is."""
        if self._closed:
            return None
        for _ in range(len(self._batches)):
            batch = self._batches[0]
            self._batches.rotate(-1)
            if batch.waiting and batch.running < batch.at_once:
                batch.running += 1
                return batch, batch.waiting.popleft()
        return None
