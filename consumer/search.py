"""The search consumer: plans a search, and hands its parts to the fetch workers.

A batch stays in flight until all its parts are enqueued. A crash anywhere brings it again: the
plan is found as it is, and parts that are enqueued already keep their ids.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

import shapes
from consumer.fetch_queue import FetchQueue, part_timeout_s
from consumer.leased import ENGINE_PAUSE_S, LeasedConsumer
from errors import BrokenJob, EngineAway, NewerJob
from queues.reliable import Lease, ReliableQueue
from search.entries import RunSearch, SearchEntries
from search.model import Entry
from search.query import SearchQuery
from suppliers.fetching import FetchPart, query_of
from suppliers.planning import plan
from suppliers.rates import RateSupplier

log = logging.getLogger(__name__)

BATCH_MAX = 20
BEAT_S = 0.5
SINGLES_AFTER = 3
BURY_AFTER = 5
# The latest dead letters are kept, for a person to look at.
LETTERS_MAX = 1_000
# Dead fetch workers are looked for this often.
RECOVER_EVERY_S = 1.0
VERSION = 1


class Workers(Protocol):
    """Who fetches; see consumer/fetch_workers."""

    def dead(self) -> list[str]: ...
    def forget(self, names: Sequence[str]) -> None: ...


class SearchConsumer(LeasedConsumer):
    """One step: plan what waits, end what is past its deadline, bring back what the dead had."""

    def __init__(
        self,
        queue: ReliableQueue,
        entries: SearchEntries,
        fetches: FetchQueue,
        workers: Workers,
        suppliers: Sequence[type[RateSupplier]],
        *,
        name: str,
        currency: str,
        deadline_s: float,
        stop: threading.Event,
    ) -> None:
        super().__init__(queue, name=name, stop=stop)
        self._entries = entries
        self._fetches = fetches
        self._workers = workers
        self._suppliers = suppliers
        self._one_by_one = {one.name: one.scope == "hotel" for one in suppliers}
        self._currency = currency
        self._timeout_s = part_timeout_s(deadline_s)
        # (deadline, search): a memory only. What a crash forgets, whoever looks completes.
        self._open: list[tuple[float, str]] = []
        self._recovered_s = float("-inf")

    def work(self, lease: Lease) -> None:
        """One beat. Raises NewerJob too."""
        taken = self.queue.take(lease, most=BATCH_MAX, singles_after=SINGLES_AFTER)
        alone = len(taken.jobs) == 1
        if not all(self._handle(raw, alone, taken.deliveries) for raw in taken.jobs):
            # It comes again, alone in the end, and is buried then.
            self.stop.wait(ENGINE_PAUSE_S)
            return
        if taken.jobs:
            self.queue.done(lease, taken)
        else:
            self.queue.wait(BEAT_S)
        self._end_overdue()
        self._recover()

    def _handle(self, raw: bytes, alone: bool, deliveries: int) -> bool:
        """Whether the job is done with."""
        try:
            self._plan(decode(raw))
        except (EngineAway, NewerJob):
            raise
        except BrokenJob as broken:
            log.warning("dropped: %s", broken)
        except Exception:
            log.exception("a search cannot be planned")
            if not alone or deliveries < BURY_AFTER:
                return False
            # Its visitors see that it ends without rates, and ask again.
            log.error("a search is buried after %d deliveries", deliveries)
            self.queue.bury(raw, most=LETTERS_MAX)
        return True

    def _plan(self, query: SearchQuery) -> None:
        entry = self._entries.read(query.search_id)
        if entry is None or entry.is_completed:
            return
        asked = query_of(query.destination, query.check_in, query.check_out, query.guests,
                         self._currency, query.hotel_ids)
        parts = plan(asked, self._suppliers)
        counts = {name: len(some) for name, some in parts.items() if some}
        if not self._entries.plan(query.search_id, counts):
            return
        # Those that take few parts, and few calls for a part, first: their rates are the first ones
        # on the page.
        jobs = [
            FetchPart(search_id=query.search_id, created_ms=entry.created_ms,
                      deadline_ms=entry.deadline_ms, supplier=name, query=asked, part=part)
            for name, some in sorted(parts.items(), key=lambda item: (
                len(item[1]), self._one_by_one[item[0]]))
            for part in some
        ]
        self._fetches.enqueue(jobs, timeout_s=self._timeout_s)
        self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        left_s = (entry.deadline_ms - entry.created_ms) / 1_000
        heapq.heappush(self._open, (time.monotonic() + left_s, entry.search_id))

    def _end_overdue(self) -> None:
        """A search that is past its deadline is completed by reading it."""
        while self._open and self._open[0][0] <= time.monotonic():
            self._entries.read(heapq.heappop(self._open)[1])

    def _recover(self) -> None:
        now_s = time.monotonic()
        if now_s - self._recovered_s < RECOVER_EVERY_S:
            return
        self._recovered_s = now_s
        lost = self._fetches.rescue(timeout_s=self._timeout_s)
        if lost:
            log.warning("%d parts were taken and not begun; they are fetched again", lost)
        dead = self._workers.dead()
        if dead:
            again = self._fetches.recover(dead, timeout_s=self._timeout_s)
            # Forgotten last: a crash before brings their parts back under the same ids.
            self._workers.forget(dead)
            log.warning("%d fetch workers died; %d parts are fetched again", len(dead), again)


def decode(raw: bytes) -> SearchQuery:
    """The search of a job. Raises NewerJob, and BrokenJob for what is none."""
    try:
        head: Mapping[str, Any] = msgspec.json.decode(raw)
        version = head.get("v", VERSION) if isinstance(head, dict) else VERSION
        if isinstance(version, int) and version > VERSION:
            raise NewerJob(f"a search job of version {version}")
        return shapes.decode(raw, RunSearch).query
    except msgspec.MsgspecError as error:
        raise BrokenJob(f"a search job that cannot be read: {error}") from error
