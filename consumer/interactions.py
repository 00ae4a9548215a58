"""The interactions consumer: writes the log of vendor calls into compressed objects.

A batch stays in flight until its objects are written; their names follow from it, so a batch that
comes again writes the same objects. While the store is away the list fills up to its bound.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time

import msgspec

from errors import EngineAway, LeaseLost
from queues.reliable import Lease, ReliableQueue
from suppliers.interaction_store import InteractionStore, StoreAway
from suppliers.redaction import Interaction

log = logging.getLogger(__name__)

BATCH_MAX = 500
BEAT_S = 0.5
# A batch waits a little for more of its kind: fewer, larger objects.
GATHER_S = 2.0
ENGINE_PAUSE_S = 0.2
STORE_PAUSE_MAX_S = 30.0
TIDY_EVERY_S = 3_600.0

_decoder = msgspec.json.Decoder(Interaction)


class InteractionsConsumer:
    """One step: a batch, or a beat without one."""

    def __init__(
        self,
        queue: ReliableQueue,
        store: InteractionStore,
        *,
        name: str,
        kept_days: int,
        stop: threading.Event,
        gather_s: float = GATHER_S,
    ) -> None:
        self._queue = queue
        self._store = store
        self._name = name
        self._kept_days = kept_days
        self._stop = stop
        self._gather_s = gather_s
        self._lease: Lease | None = None
        self._pause_s = 0.0
        self._tidied_s = float("-inf")

    def step(self) -> None:
        """One beat."""
        try:
            self._lease = self._lease or self._queue.acquire(self._name)
            if self._lease is None:
                self._stop.wait(BEAT_S)
                return
            if self._queue.wait(BEAT_S):
                self._stop.wait(self._gather_s)
            taken = self._queue.take(self._lease, most=BATCH_MAX, singles_after=1_000_000,
                                     excused=True)
            if taken.jobs:
                self._store.write(_read(taken.jobs))
                self._queue.done(self._lease, taken)
            self._pause_s = 0.0
            self._tidy()
        except LeaseLost:
            self._lease = None
        except StoreAway as away:
            self._pause_s = min(max(2 * self._pause_s, 0.5), STORE_PAUSE_MAX_S)
            log.warning("%s; the calls are kept, trying again in %.1f s", away, self._pause_s)
            self._wait_with_lease(self._pause_s)
        except EngineAway as away:
            log.warning("%s; trying again", away)
            self._stop.wait(ENGINE_PAUSE_S)

    def leave(self) -> None:
        """Let another one go on at once."""
        if self._lease is not None:
            try:
                self._queue.release(self._lease, excused=True)
            except EngineAway:
                log.warning("the lease could not be returned; it runs out by itself")

    def _wait_with_lease(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and not self._stop.wait(min(BEAT_S, seconds)):
            try:
                assert self._lease is not None
                self._queue.renew(self._lease)
            except (EngineAway, LeaseLost):
                self._lease = None
                return

    def _tidy(self) -> None:
        now_s = time.monotonic()
        if now_s - self._tidied_s >= TIDY_EVERY_S:
            self._tidied_s = now_s
            first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=self._kept_days)
            removed = self._store.forget_before(first)
            if removed:
                log.info("%d days of calls are older than %s and gone", removed, first)


def _read(jobs: list[bytes]) -> list[Interaction]:
    found = []
    for raw in jobs:
        try:
            found.append(_decoder.decode(raw))
        except msgspec.MsgspecError:
            log.warning("a call that cannot be read is dropped")
    return found
