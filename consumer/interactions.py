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

from consumer.leased import LeasedConsumer
from queues.reliable import Lease, ReliableQueue
from suppliers.interaction_store import InteractionStore, StoreAway
from suppliers.redaction import Interaction

log = logging.getLogger(__name__)

BATCH_MAX = 500
BEAT_S = 0.5
# A batch waits a little for more of its kind: fewer, larger objects.
GATHER_S = 2.0
STORE_PAUSE_MAX_S = 30.0
TIDY_EVERY_S = 3_600.0

_decoder = msgspec.json.Decoder(Interaction)


class InteractionsConsumer(LeasedConsumer):
    """Writes one batch after the other."""

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
        super().__init__(queue, name=name, stop=stop)
        self._store = store
        self._kept_days = kept_days
        self._gather_s = gather_s
        self._pause_s = 0.0
        self._tidied_s = float("-inf")

    def work(self, lease: Lease) -> None:
        """One beat: a batch, if there is one."""
        if self.queue.wait(BEAT_S):
            self.stop.wait(self._gather_s)
        taken = self.queue.take(lease, most=BATCH_MAX, singles_after=1_000_000, excused=True)
        try:
            if taken.jobs:
                self._store.write(_read(taken.jobs))
                self.queue.done(lease, taken)
            self._pause_s = 0.0
            self._tidy()
        except StoreAway as away:
            self._pause_s = min(max(2 * self._pause_s, 0.5), STORE_PAUSE_MAX_S)
            log.warning("%s; the calls are kept, trying again in %.1f s", away, self._pause_s)
            self._wait_with_lease(lease, self._pause_s)

    def _wait_with_lease(self, lease: Lease, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and not self.stop.wait(min(BEAT_S, seconds)):
            self.queue.renew(lease)

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
