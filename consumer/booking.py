"""The booking consumer: wait, take, read, decide, write, tell.

One thread, one lease holder; whoever has no lease stands by. Each step is one batch, and each has
one answer to a crash: until the batch is told, it comes back and is decided again from what the
database says by then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from booking import commands
from booking.allotment import Allotment, Ledger
from booking.batch import Decided, decide_batch, follow_ups, named, status
from booking.commands import Command, ExpireHold, PlaceOrder
from booking.dead_letters import DeadLetter, buried_order
from booking.dead_letters import encode as encode_letter
from booking.documents import slot_key
from booking.model import Package
from booking.projection import project
from booking.store import BookingStore
from errors import BrokenJob, EngineAway, LeaseLost, Surprise
from queues.reliable import BookingQueue, Lease, Taken, Told

log = logging.getLogger(__name__)

SURPRISES_BEFORE_SINGLES = 3
SWEEP_MOST = 500
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The tunables of a booking consumer, by their names in settings.py."""

    batch_max: int
    beat_ms: int
    lease_ms: int
    sweep_every_ms: int
    hold_s: int
    owed_after_s: int
    singles_after_deliveries: int
    bury_after_deliveries: int
    memory_max_percent: int


class BookingConsumer:
    """One consumer. `step()` does one batch, or waits a moment, and never raises for what time
    mends; NewerJob and programming errors outside of a job end the process.
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
    ) -> None:
        self._queue = queue
        self._store = store
        self._limits = limits
        self._name = name
        self._memory_percent = memory_percent
        self._stop = stop
        self._monotonic = monotonic
        self._lease: Lease | None = None
        self._waiting = 0
        self._surprises = 0
        self._excused = False
        self._pause_s = PAUSE_MIN_S
        self._forget()

    # --- the step -----------------------------------------------------------------------------

    def step(self) -> None:
        """Wait for work if none is known, then take one batch all the way."""
        try:
            if self._lease is None and not self._stand_by():
                return
            if self._waiting == 0 and self._allotments is not None:
                self._queue.wait(self._limits.beat_ms / 1_000)
            if self._stop.is_set():
                return
            self._one_batch()
            self._surprises, self._excused, self._pause_s = 0, False, PAUSE_MIN_S
        except LeaseLost as lost:
            log.warning("%s; standing by", lost)
            self._lease = None
            self._forget()
        except Surprise as surprise:
            log.warning("somebody else wrote: %s", surprise)
            self._surprises += 1
            self._forget()
            self._pause()
        except EngineAway as away:
            # What was written is not known: nothing in memory can be trusted, and the redelivery
            # that follows says nothing against the jobs.
            log.warning("%s; trying again", away)
            self._excused = True
            self._forget()
            self._pause()

    def leave(self) -> None:
        """Give the lease back, so that a standby takes over at once."""
        if self._lease is not None:
            try:
                self._queue.release(self._lease)
            except EngineAway:
                log.warning("the lease could not be given back; it runs out by itself")
            self._lease = None

    def _stand_by(self) -> bool:
        self._lease = self._queue.acquire(self._name)
        if self._lease is None:
            self._stop.wait(self._limits.lease_ms / 8_000)
            return False
        log.info("holding the lease %s", self._lease.token)
        return True

    def _pause(self) -> None:
        self._waiting = 1  # whatever is in flight comes back without a bell
        self._stop.wait(self._pause_s)
        self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)

    def _one_batch(self) -> None:
        lease = self._lease
        assert lease is not None
        taken = self._queue.take(
            lease,
            most=self._limits.batch_max,
            singles_after=self._limits.singles_after_deliveries,
            excused=self._excused,
            singles_now=self._surprises >= SURPRISES_BEFORE_SINGLES,
        )
        self._excused = False
        alone = len(taken.jobs) == 1
        if alone and taken.deliveries > self._limits.bury_after_deliveries:
            self._bury(lease, taken, "it stopped the consumer each time it was taken")
            return
        try:
            batch = [commands.decode_command(raw) for raw in taken.jobs]
        except BrokenJob as broken:
            if not alone:
                raise self._go_job_by_job(str(broken)) from broken
            self._bury(lease, taken, str(broken))
            return
        try:
            ledger = self._read(batch)
            decided = decide_batch(ledger, batch, taken.now_ms, hold_ms=self._limits.hold_s * 1_000)
            self._store.write(decided.changed)
        except (LeaseLost, Surprise, EngineAway):
            raise
        except Exception as error:
            # A fault of ours that this job brings out. Alone it is tried again, each delivery
            # counted, until it is buried; among others it is first set apart.
            log.exception("batch %d cannot be decided", taken.number)
            raise self._go_job_by_job(type(error).__name__) from error
        self._tell(lease, taken, ledger, decided)

    def _go_job_by_job(self, why: str) -> Surprise:
        self._surprises = SURPRISES_BEFORE_SINGLES
        return Surprise(f"a job is set apart: {why}")

    # --- read ---------------------------------------------------------------------------------

    def _read(self, batch: list[Command]) -> Ledger:
        """All that the batch names; all packages once a beat, so that changes show by themselves.
        """
        names = named(batch)
        if self._allotments is None:
            self._load_memory()
        assert self._allotments is not None
        ledger = Ledger(self._allotments)
        now_s = self._monotonic()
        self._whole_shelf = now_s - self._shelf_read_s >= self._limits.beat_ms / 1_000
        if self._whole_shelf:
            ledger.packages = self._store.read_packages()
            self._shelf_read_s = now_s
        elif names.package_ids:
            ledger.packages = self._store.read_packages(names.package_ids)
        for package_id in ledger.packages:
            if package_id not in self._allotments:
                self._allotments[package_id] = Allotment(self._store.live_units(package_id))
        ledger.load(self._store.read_orders(names.order_ids))
        self._read_slots(ledger, names.customers)
        return ledger

    def _read_slots(self, ledger: Ledger, customers: set[tuple[int, str]]) -> None:
        wanted = {
            slot_key(package_id, email, n): (package_id, email, n)
            for package_id, email in customers
            for n in range(1, _limit(ledger.packages.get(package_id)) + 1)
        }
        for key in self._store.taken_slots(list(wanted)):
            package_id, email, n = wanted[key]
            ledger.slots.setdefault((package_id, email), set()).add(n)

    def _load_memory(self) -> None:
        self._projected = self._queue.known_packages()
        self._allotments = {
            package_id: Allotment(units) for package_id, units in self._store.all_live_units()
        }
        self._shelf_read_s = float("-inf")

    def _forget(self) -> None:
        """Drop what is believed of the database; the next batch loads it again."""
        self._allotments: dict[int, Allotment] | None = None
        self._projected: dict[str, tuple[str, str]] = {}
        self._shelf_read_s = float("-inf")
        self._whole_shelf = False
        self._swept_s = float("-inf")
        self._swept_pushed = 0

    # --- tell ---------------------------------------------------------------------------------

    def _tell(self, lease: Lease, taken: Taken, ledger: Ledger, decided: Decided) -> None:
        told = Told(
            statuses=[msgspec.structs.astuple(line) for line in decided.statuses],
            reservations=[commands.encode(job).decode() for job in decided.reservations],
        )
        if self._whole_shelf and self._memory_percent() >= self._limits.memory_max_percent:
            told.pressure = "memory"
        self._project(ledger, told)
        self._sweep(taken, told)
        self._waiting = self._queue.tell(lease, taken.number, told)
        # Only what was told is known to be there; a refused tell has dropped the memory by now.
        for package_id, view, door in told.packages:
            self._projected[package_id] = (view, door)
        for package_id in told.gone:
            del self._projected[package_id]

    def _project(self, ledger: Ledger, told: Told) -> None:
        assert self._allotments is not None
        for package_id, package in ledger.packages.items():
            line = project(package, self._allotments[package_id].remaining(package.quota))
            if self._projected.get(line[0]) != line[1:]:
                told.packages.append(line)
        if self._whole_shelf:
            told.gone = [known for known in self._projected if int(known) not in ledger.packages]

    def _sweep(self, taken: Taken, told: Told) -> None:
        """Find holds past their end and cancellations that are owed for long.

        The commands of one sweep are awaited before the next, so that a long backlog does not
        fill with the same expiries again and again.
        """
        now_s = self._monotonic()
        due = now_s - self._swept_s >= self._limits.sweep_every_ms / 1_000
        if not due or taken.applied < self._swept_pushed:
            return
        self._swept_s = now_s
        told.commands = [
            commands.encode(ExpireHold(order_id=order_id, at_ms=taken.now_ms)).decode()
            for order_id in self._store.expired_holds(taken.now_ms, SWEEP_MOST)
        ]
        owed_since_ms = taken.now_ms - self._limits.owed_after_s * 1_000
        overdue = self._store.owed_before(owed_since_ms, SWEEP_MOST)
        told.reservations += [
            commands.encode(job).decode() for job in follow_ups(overdue, set())
        ]
        if told.commands:
            self._swept_pushed = taken.pushed + len(told.commands)

    # --- bury ---------------------------------------------------------------------------------

    def _bury(self, lease: Lease, taken: Taken, why: str) -> None:
        """End the order of a job that cannot be applied, then keep the job as a dead letter.

        In this order: a crash between the two brings the job back, and it is buried again. A
        report or an expiry has no order of its own to end: the hold runs out by itself.
        """
        raw = taken.jobs[0]
        told = Told(dead=[encode_letter(DeadLetter(
            source="jobs", job=raw, error=why, deliveries=taken.deliveries, at_ms=taken.now_ms,
        )).decode()])
        try:
            command = commands.decode_command(raw)
        except BrokenJob:
            command = None
        if isinstance(command, PlaceOrder):
            order = self._store.find_order(command.order_id)
            if order is None:
                order = buried_order(command, taken.now_ms)
                self._store.write([(None, order)])
            told.statuses = [msgspec.structs.astuple(status(order))]
        log.error("buried a job after %d deliveries: %s", taken.deliveries, why)
        self._waiting = self._queue.tell(lease, taken.number, told)


def _limit(package: Package | None) -> int:
    return (package.limit_per_customer or 0) if package else 0


