"""The rate loader pool: loaders that ask for one hotel at a time, as many as there is work for.

Batches take turns hotel by hotel, so a large one holds no small one up; and a hotel that is slow
holds nobody up but its own loader. The pool grows while more waits than there are loaders to
spare, and shrinks again after a while without work.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

R = TypeVar("R")

IDLE_S = 10.0
# Nothing more for this long, or the first one this long ago: whoever gathers results may hand on
# what has come.
QUIET_S = 0.02
GATHER_S = 0.1


class Batch(Generic[R]):
    """What one fetch wants to have loaded. One thread adds to it and reads it."""

    def __init__(self, pool: LoaderPool, *, until_s: float) -> None:
        self._pool = pool
        self._until_s = until_s
        self._to_come = 0
        # The pool's.
        self.waiting: deque[Callable[[], R]] = deque()
        self.results: queue.SimpleQueue[R | BaseException] = queue.SimpleQueue()

    def __enter__(self) -> Batch[R]:
        return self

    def __exit__(self, *_: object) -> None:
        """What still waits is not loaded."""
        self._pool.forget(self)

    def add(self, loads: Iterable[Callable[[], R]]) -> None:
        """Have these called too, each by a loader; also while results are read."""
        some = list(loads)
        self._to_come += len(some)
        self._pool.take(self, some)

    def __iter__(self) -> Iterator[R | BaseException | None]:
        """What each call returned or raised, as it comes; None when nothing more came for a moment
        after it, and now and then while results keep coming. Ends when all came, or at `until_s`
        (monotonic).
        """
        first_s: float | None = None
        while self._to_come:
            now_s = time.monotonic()
            left_s = self._until_s - now_s
            if left_s <= 0:
                return
            if first_s is not None and now_s - first_s >= GATHER_S:
                first_s = None
                yield None
                continue
            try:
                result = self.results.get(
                    timeout=left_s if first_s is None else min(left_s, QUIET_S))
            except queue.Empty:
                if first_s is not None:
                    first_s = None
                    yield None
                continue
            if first_s is None:
                first_s = time.monotonic()
            self._to_come -= 1
            yield result


class LoaderPool:
    """Between `low` and `high` threads. `close` lets those under way end."""

    def __init__(self, *, low: int, high: int, name: str, idle_s: float = IDLE_S) -> None:
        self._low = min(low, high)
        self._high = high
        self._name = name
        self._idle_s = idle_s
        self._change = threading.Condition()
        # Those of which something waits, in the order of their turns.
        self._batches: deque[Batch[Any]] = deque()
        self._threads = 0
        self._busy = 0
        self._closed = False
        with self._change:
            for _ in range(self._low):
                self._grow()

    @property
    def size(self) -> int:
        """Loaders now."""
        return self._threads

    def take(self, batch: Batch[Any], loads: list[Callable[[], Any]]) -> None:
        """For `Batch.add`."""
        with self._change:
            if loads and not batch.waiting:
                self._batches.append(batch)
            batch.waiting.extend(loads)
            # Loaders that are about to take what others have added are not to spare.
            waiting = sum(len(one.waiting) for one in self._batches)
            missing = waiting - (self._threads - self._busy)
            for _ in range(min(missing, self._high - self._threads)):
                self._grow()
            self._change.notify(len(loads))

    def forget(self, batch: Batch[Any]) -> None:
        """For the end of a `Batch`."""
        with self._change:
            if batch.waiting:
                self._batches.remove(batch)
                batch.waiting.clear()

    def close(self) -> None:
        """Take no more; loaders end after the hotel that they are at."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _grow(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._threads += 1

    def _work(self) -> None:
        while True:
            with self._change:
                found = self._next()
                while found is None and not self._closed:
                    called = self._change.wait(self._idle_s)
                    # Looked for after a wait without a call, too: the call may have come just then.
                    found = self._next()
                    if found is None and not called and self._threads > self._low:
                        break
                if found is None:
                    self._threads -= 1
                    return
                self._busy += 1
            batch, load = found
            try:
                result = load()
            except BaseException as error:  # noqa: BLE001 (it is the batch's to judge)
                result = error
            with self._change:
                self._busy -= 1
            batch.results.put(result)

    def _next(self) -> tuple[Batch[Any], Callable[[], Any]] | None:
        """What the batch whose turn it is wants next."""
        if self._closed or not self._batches:
            return None
        batch = self._batches.popleft()
        load = batch.waiting.popleft()
        if batch.waiting:
            self._batches.append(batch)
        return batch, load
