"""The booking consumer: wait, take, read, decide, write, tell.

One lease holder; whoever has no lease stands by. Each step is one batch, and each has one answer
to a crash: until the batch is told, it comes back and is decided again from what the database
says by then.

Under load, a batch is written while the one before it is told, the one behind it is decided and
the one behind that is taken. Batches are still written one after the other and told one after the
other, each only once it is written; a batch whose write was not as decided takes the ones behind
it down with it: nothing of them is told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

import msgspec

from booking import commands
from booking.batch import follow_ups, status
from booking.dead_letters import DeadLetter
from booking.dead_letters import encode as encode_letter
from booking.store import BookingStore
from consumer.batches import Batch, Limits, Memory
from consumer.burial import Burial
from errors import (
    BrokenJob,
    EngineAway,
    EngineUnfit,
    LeaseLost,
    NewerJob,
    Surprise,
)
from queues.reliable import BookingQueue, Lease, Taken, Told

log = logging.getLogger(__name__)

SURPRISES_BEFORE_SINGLES = 3
STREAM_MOST_BATCHES = 100
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0


class BookingConsumer:
    """One consumer. `step()` does what is there to do, or waits a moment, and never raises for
    what time mends; NewerJob and programming errors outside of a job end the process.
    """

    def __init__(
        self,
        queue: BookingQueue,
        store: BookingStore,
        limits: Limits,
        *,
        name: str,
        memory_percent: Callable[[], int],
        stop: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
        writer: Executor | None = None,
        caller: Executor | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._limits = limits
        self._name = name
        self._stop = stop
        self._memory = Memory(queue, store, limits, memory_percent=memory_percent,
                              keep_lease=self._keep_lease, monotonic=monotonic)
        self._burial = Burial(queue, store)
        self._writer = writer or ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._caller = caller or ThreadPoolExecutor(1, thread_name_prefix="caller")
        self._lease: Lease | None = None
        self._waiting = 1
        self._in_hand = False
        self._recovering = True
        self._surprises = 0
        self._excused = False
        self._pause_s = PAUSE_MIN_S

    # --- the step -----------------------------------------------------------------------------

    def step(self) -> None:
        """Wait for work if none is known, then take it all the way."""
        self._in_hand = False
        try:
            lease = self._lease or self._stand_by()
            if lease is None:
                return
            if self._waiting == 0:
                self._queue.wait(self._limits.beat_ms / 1_000)
            if self._stop.is_set():
                return
            self._work(lease)
            self._surprises, self._excused, self._pause_s = 0, False, PAUSE_MIN_S
            self._recovering = False
        except (NewerJob, EngineUnfit):
            # However often consumers stop at it, that says nothing against a job: the one that
            # can apply it must not find it delivered too often, and bury it.
            self._excused = True
            raise
        except LeaseLost as lost:
            log.warning("%s; standing by", lost)
            self._lease = None
            self._start_over()
        except Surprise as surprise:
            log.warning("somebody else wrote: %s", surprise)
            self._surprises += 1
            self._start_over()
            self._pause()
        except EngineAway as away:
            # What was written is not known: nothing in memory can be trusted, and the redelivery
            # that follows says nothing against the jobs.
            log.warning("%s; trying again", away)
            self._excused = True
            self._start_over()
            self._pause()
        except Exception as error:
            if not self._in_hand:
                raise
            # A fault of ours that some job brings out. Job by job the others are applied; alone
            # it is tried again, each delivery counted, until it is buried.
            log.exception("a batch cannot be applied: %s", type(error).__name__)
            self._surprises = SURPRISES_BEFORE_SINGLES
            self._start_over()
            self._pause()

    def leave(self) -> None:
        """Give the lease back, so that a standby takes over at once."""
        self._writer.shutdown(wait=True)
        self._caller.shutdown(wait=True)
        if self._lease is not None:
            try:
                self._queue.release(self._lease, excused=self._excused)
            except (EngineAway, EngineUnfit) as error:
                log.warning("%s; the lease runs out by itself", error)
            self._lease = None

    def _stand_by(self) -> Lease | None:
        self._lease = self._queue.acquire(self._name)
        if self._lease is None:
            self._stop.wait(self._limits.lease_ms / 8_000)
            return None
        log.info("holding the lease %s", self._lease.token)
        return self._lease

    def _keep_lease(self) -> None:
        if self._lease is not None:
            self._queue.renew(self._lease)

    def _start_over(self) -> None:
        self._memory.forget()
        self._recovering = True
        self._waiting = 1  # whatever is in flight comes back without a bell

    def _pause(self) -> None:
        self._stop.wait(self._pause_s)
        self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)

    # --- batches ------------------------------------------------------------------------------

    def _work(self, lease: Lease) -> None:
        """One batch, or while full ones wait, a stream of them."""
        taken = self._queue.take(
            lease,
            most=self._limits.batch_max,
            singles_after=self._limits.singles_after_deliveries,
            excused=self._excused,
            singles_now=self._surprises >= SURPRISES_BEFORE_SINGLES,
        )
        self._excused = False
        self._in_hand = bool(taken.jobs)
        batch = self._decide_or_bury(lease, taken)
        if batch is None:
            return
        if self._more_behind(taken) and taken.pushed - taken.applied > len(taken.jobs):
            self._stream(lease, batch)
            return
        self._store.write(batch.writes)
        self._tell(lease, batch)

    def _more_behind(self, taken: Taken) -> bool:
        """A full batch that is no recovered one: looking behind it pays.

        Behind recovered work nothing is taken, or each failure would make the batch longer.
        """
        return (
            not self._recovering
            and len(taken.jobs) > 1
            and len(taken.jobs) == self._limits.batch_max
            and not self._stop.is_set()
        )

    def _stream(self, lease: Lease, batch: Batch) -> None:
        """Write `batch` and what waits behind it, until no full batch is behind.

        Four batches at once: the first is written and being told, the second being written, the
        third being decided, the fourth being taken. Whatever fails leaves in flight what was not
        told: it comes back, all of it as one batch.
        """
        untold: Batch | None = None
        behind = self._take_behind(lease, batch.taken)
        taken = 1
        while behind is not None:
            # A step has an end, however long the backlog is: whoever watches us sees it.
            last = behind if taken < STREAM_MOST_BATCHES else None
            written = self._writer.submit(self._store.write, batch.writes)
            called = self._caller.submit(self._tell_and_take, lease, untold, last)
            taken += 1
            try:
                following = self._decide(behind, before=batch)
            finally:
                # Whatever happens here, nothing of ours may still be under way afterwards.
                written.exception()
                called.exception()
            written.result()
            next_behind = called.result()
            untold = batch
            if following is None:
                self._tell(lease, batch)
                untold = None
                following = self._decide(behind)
                assert following is not None  # nothing is being written that it could touch
            batch, behind = following, next_behind
        if untold is not None:
            self._tell(lease, untold)
        self._store.write(batch.writes)
        self._tell(lease, batch)

    def _tell_and_take(
        self, lease: Lease, untold: Batch | None, last: Taken | None
    ) -> Taken | None:
        if untold is not None:
            self._tell(lease, untold)
        return self._take_behind(lease, last) if last is not None else None

    def _take_behind(self, lease: Lease, last: Taken) -> Taken | None:
        """What waits behind the batch that was taken last; None when that is not worth it."""
        if not self._more_behind(last):
            return None
        behind = self._queue.take_behind(lease, last.number, most=self._limits.batch_max)
        return behind if behind.jobs else None

    def _decide_or_bury(self, lease: Lease, taken: Taken) -> Batch | None:
        """The batch, decided; None when its only job was buried instead."""
        alone = len(taken.jobs) == 1
        if alone and taken.deliveries > self._limits.bury_after_deliveries:
            self._bury(lease, taken, "it stopped the consumer each time it was taken")
            return None
        try:
            return self._decide(taken)
        except BrokenJob as broken:
            if not alone:
                raise
            self._bury(lease, taken, str(broken))
            return None

    def _decide(self, taken: Taken, before: Batch | None = None) -> Batch | None:
        batch = [commands.decode_command(raw) for raw in taken.jobs]
        # What was delivered before may be written. What is new is not looked for in the database:
        # should it be there all the same, its insert is refused, and it comes back as delivered.
        fresh = taken.deliveries == 1 and not self._recovering
        return self._memory.decide(taken, batch, before, fresh=fresh)

    def _tell(self, lease: Lease, batch: Batch) -> None:
        self._waiting = self._queue.tell(lease, batch.taken, batch.told)

    # --- bury ---------------------------------------------------------------------------------

    def _bury(self, lease: Lease, taken: Taken, why: str) -> None:
        """End the order of a job that cannot be applied, then keep the job as a dead letter.

        In this order: a crash between the two brings the job back, and it is buried again. A
        report or an expiry has no order of its own to end: the hold runs out by itself. But its
        write may have happened in a delivery that was never told, so the order is told as it
        stands, with what it asks of the supplier.
        """
        raw = taken.jobs[0]
        told = Told(dead=[encode_letter(DeadLetter(
            source="jobs", job=raw, error=why, deliveries=taken.deliveries, at_ms=taken.now_ms,
        )).decode()])
        if self._burial.letter_is_spared(raw, self._limits.dead_letters_max):
            told.dead = []
        order, places = self._burial.order_of(raw, taken.now_ms)
        if order is not None:
            placed = {order.order_id} if places else set()
            told.statuses = [msgspec.structs.astuple(status(order))]
            told.reservations = [
                commands.encode(job).decode() for job in follow_ups([order], placed)
            ]
        log.error("buried a job after %d deliveries: %s", taken.deliveries, why)
        self._waiting = self._queue.tell(lease, taken, told)
