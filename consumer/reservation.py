"""The reservation consumer: flight, then room, many orders at once; it reports and never decides.

A job stays in this worker's inflight list until its report is on the booking road. A worker that
dies is noticed by its heartbeat, and any other worker brings its jobs back. The supplier repeats
its first answer for the order's key, so doing a job twice books nothing twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Protocol

from booking import commands
from booking.commands import (
    Command,
    Compensate,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    ReservationJob,
    Reserve,
    ReserveStay,
)
from booking.dead_letters import DeadLetter
from booking.dead_letters import encode as encode_letter
from booking.model import STAY_ONLY, Part, Reason, State
from booking.store import BookingStore
from consumer.stays import Stays
from errors import (
    BrokenJob,
    EngineAway,
    EngineUnfit,
    NewerJob,
    SupplierAway,
    SupplierDeclined,
)
from queues.shared_work import SharedWork

log = logging.getLogger(__name__)

BEATS_PER_HEARTBEAT = 4
ENGINE_PAUSE_S = 0.2


class Supplier(Protocol):
    """What a supplier of flights and rooms can do; see suppliers/reservations."""

    def reserve_flight(self, order_id: str, flight: str, stay: str) -> str: ...
    def reserve_room(self, order_id: str, flight_ticket_number: str, stay: str) -> str: ...
    def cancel_flight(self, order_id: str) -> None: ...
    def cancel_room(self, order_id: str) -> None: ...


class Saga:
    """What one job does at the supplier, and the report of it. Holds no state."""

    def __init__(self, store: BookingStore, supplier: Supplier, stays: Stays) -> None:
        self._store = store
        self._supplier = supplier
        self._stays = stays

    def run(self, job: ReservationJob) -> Command | None:
        """The report, or None when there is nothing to report. Raises EngineAway."""
        if isinstance(job, Compensate) and not job.supplier:
            return self._compensate(job)
        order = self._store.find_order(job.order_id)
        if isinstance(job, Compensate):
            return self._stays.compensate(job, order)
        if order is None or order.state is not State.HELD:
            return None  # it ended meanwhile; whatever it owes, its ending has asked for
        if isinstance(job, ReserveStay):
            return self._stays.reserve(order, job)
        return self._reserve(job)

    def _reserve(self, job: Reserve) -> Command:
        # A decline says that nothing is there. An unreachable supplier says nothing at all: what
        # was asked of it may exist, and the order's end will have it cancelled by its key.
        try:
            ticket = self._supplier.reserve_flight(job.order_id, job.flight, job.stay)
        except SupplierDeclined:
            return ReservationFailed(order_id=job.order_id, reason=Reason.FLIGHT_DECLINED)
        except SupplierAway as away:
            return _unreachable(job, (Part.FLIGHT,), away)
        try:
            room = self._supplier.reserve_room(job.order_id, ticket, job.stay)
        except SupplierDeclined:
            return ReservationFailed(order_id=job.order_id, reason=Reason.ROOM_DECLINED,
                                     may_exist=(Part.FLIGHT,))
        except SupplierAway as away:
            return _unreachable(job, (Part.ROOM, Part.FLIGHT), away)
        return ReservationConfirmed(order_id=job.order_id, flight_ticket_number=ticket,
                                    hotel_reservation_number=room)

    def _compensate(self, job: Compensate) -> Command | None:
        order = self._store.find_order(job.order_id)
        if order is not None and order.compensated:
            return None  # asked for twice, and done: the tombstones stand
        cancel = {Part.ROOM: self._supplier.cancel_room, Part.FLIGHT: self._supplier.cancel_flight}
        try:
            for part in job.parts:
                cancel[part](job.order_id)
        except (SupplierAway, SupplierDeclined) as error:
            # It stays owed: the booking consumer's sweep asks again, and the audit shows it.
            log.warning("order %s still owes a cancellation: %s", job.order_id, error)
            return None
        return ReservationCompensated(order_id=job.order_id)


def _unreachable(job: Reserve, may_exist: tuple[Part, ...], away: SupplierAway) -> Command:
    log.warning("order %s: %s", job.order_id, away)
    return ReservationFailed(order_id=job.order_id, reason=Reason.SUPPLIER_UNREACHABLE,
                             may_exist=may_exist)


class ReservationConsumer:
    """Takes jobs as threads are free, and keeps the heartbeat whatever the threads do.

    `pool` runs up to `threads` jobs at once, and `event` makes what its end of a job sets.
    """

    def __init__(
        self,
        work: SharedWork,
        saga: Saga,
        *,
        threads: int,
        bury_after_deliveries: int,
        dead_letters_max: int,
        heartbeat_ms: int,
        stop: threading.Event,
        pool: Executor | None = None,
        event: Callable[[], threading.Event] = threading.Event,
    ) -> None:
        self._work = work
        self._saga = saga
        self._threads = threads
        self._bury_after_deliveries = bury_after_deliveries
        self._dead_letters_max = dead_letters_max
        self._beat_s = heartbeat_ms / 1_000 / BEATS_PER_HEARTBEAT
        self._stop = stop
        self._pool = pool or ThreadPoolExecutor(threads, thread_name_prefix="saga")
        self._busy: dict[Future[None], bytes] = {}
        self._slot_free = event()
        self._newer: NewerJob | None = None

    def step(self) -> None:
        """One beat. Raises NewerJob after a thread met one."""
        if self._newer is not None:
            raise self._newer
        try:
            self._slot_free.clear()
            self._forget_finished()
            known = Counter(self._busy.values())
            beat = self._work.beat(self._threads)
            if beat.returned:
                log.warning("brought back %d jobs of workers that died", beat.returned)
            # What is in flight here and in no thread was taken now, or by a beat whose answer
            # was lost. A job that is reported just now may come once more: it reports nothing.
            for job in (Counter(beat.jobs) - known).elements():
                future = self._pool.submit(self._finish, job, beat.deaths + 1)
                future.add_done_callback(lambda _: self._slot_free.set())
                self._busy[future] = job
            if len(self._busy) < self._threads:
                self._work.wait(self._beat_s)
            else:
                self._slot_free.wait(self._beat_s)
        except EngineAway as away:
            log.warning("%s; trying again", away)
            self._stop.wait(ENGINE_PAUSE_S)

    def leave(self) -> None:
        """Wait for the calls under way (their timeouts bound it), then return what is left."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        try:
            returned = self._work.leave()
        except EngineAway:
            log.warning("jobs could not be returned; another worker brings them back")
        else:
            log.info("left; %d jobs went back", returned)

    def _forget_finished(self) -> None:
        for future in [future for future in self._busy if future.done()]:
            del self._busy[future]
            future.result()  # what a thread could not handle ends the process: its jobs go back

    def _finish(self, raw: bytes, deliveries: int) -> None:
        """One job until its report is out. It is in our inflight list all the while."""
        while not self._stop.is_set():
            try:
                self._try(raw, deliveries)
                return
            except EngineAway as away:
                log.warning("%s; the job is kept", away)
                self._stop.wait(ENGINE_PAUSE_S)

    def _try(self, raw: bytes, deliveries: int) -> None:
        job: ReservationJob | None = None
        try:
            job = commands.decode_reservation_job(raw)
            if deliveries > self._bury_after_deliveries:
                self._bury(raw, job, "its worker died each time that it took it", deliveries)
                return
            report = self._saga.run(job)
        except NewerJob as newer:
            self._newer = newer
            return
        except (EngineAway, EngineUnfit):
            # An engine that refuses says nothing against the job either: the process ends.
            raise
        except BrokenJob as broken:
            self._bury(raw, None, str(broken), deliveries)
            return
        except Exception as error:
            log.exception("a reservation job cannot be done")
            self._bury(raw, job, type(error).__name__, deliveries)
            return
        if self._stop.is_set() and (report is None or isinstance(report, ReservationFailed)):
            return  # our stopping may have cut the tries short: the job goes to another worker
        if not self._work.report(raw, commands.encode(report) if report else b""):
            log.info("a job was given to another worker meanwhile; its report is dropped")

    def _bury(
        self, raw: bytes, job: ReservationJob | None, why: str, deliveries: int
    ) -> None:
        """Keep the job for a person, and let its order fail rather than wait for its hold."""
        letter = DeadLetter(source="reservations", job=raw, error=why, deliveries=deliveries,
                            at_ms=time.time_ns() // 1_000_000)
        report = b""
        if isinstance(job, Reserve):
            report = commands.encode(ReservationFailed(
                order_id=job.order_id, reason=Reason.INTERNAL_ERROR,
                may_exist=(Part.ROOM, Part.FLIGHT),
            ))
        elif isinstance(job, ReserveStay):
            report = commands.encode(ReservationFailed(
                order_id=job.order_id, reason=Reason.INTERNAL_ERROR, may_exist=STAY_ONLY,
                supplier=job.rate.facts.supplier,
            ))
        # A cancellation stays owed and is asked for again: each time its letter would come once
        # more. So it is left out where there are many.
        self._work.report(raw, report, dead_letter=encode_letter(letter),
                          most_letters=self._dead_letters_max if isinstance(job, Compensate) else 0)
