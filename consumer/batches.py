"""What the lease holder believes of the database, and batches read and decided with it.

Nothing here writes. The belief is dropped whenever anything is unclear, and loaded anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from booking import commands
from booking.allotment import Allotment, Ledger
from booking.batch import Named, decide_batch, follow_ups, named
from booking.commands import Command, ExpireHold
from booking.documents import slot_key
from booking.model import Customer, Package
from booking.projection import project
from booking.store import BookingStore, Writes
from queues.reliable import DEAD_LETTERS, BookingQueue, Taken, Told

SWEEP_MOST = 500


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The tunables of a booking consumer, by their names in tunables.py."""

    batch_max: int
    beat_ms: int
    lease_ms: int
    sweep_every_ms: int
    hold_s: int
    owed_after_s: int
    singles_after_deliveries: int
    bury_after_deliveries: int
    memory_max_percent: int
    dead_letters_max: int


class Batch(msgspec.Struct):
    """A batch that is decided: what to write, and what to tell once that is written."""

    taken: Taken
    names: Named
    writes: Writes
    told: Told


class Memory:
    """Free units and the told projection, in the memory of the lease holder."""

    def __init__(
        self,
        queue: BookingQueue,
        store: BookingStore,
        limits: Limits,
        *,
        memory_percent: Callable[[], int],
        keep_lease: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._store = store
        self._limits = limits
        self._memory_percent = memory_percent
        self._keep_lease = keep_lease
        self._monotonic = monotonic
        self.forget()

    def forget(self) -> None:
        """Drop what is believed; the next batch loads it again."""
        self._allotments: dict[int, Allotment] = {}
        self._projected: dict[str, tuple[str, str]] = {}
        self._loaded = False
        self._shelf_read_s = float("-inf")
        self._swept_s = float("-inf")
        self._asked_s = float("-inf")
        self._swept_pushed = 0

    def decide(
        self,
        taken: Taken,
        batch: list[Command],
        before: Batch | None = None,
        *,
        fresh: bool = False,
    ) -> Batch | None:
        """Read what `batch` names, decide it, and say what is to be told.

        `before` is a batch that is still being written: its decisions are in the allotments, but
        what the database says of its orders is not settled. None when the two touch: the batch
        must then be decided after the other is written. The orders that a `fresh` batch places are
        taken for new, and not read.
        """
        names = named(batch)
        if before is not None and not before.names.order_ids.isdisjoint(names.order_ids):
            return None
        now_s = self._monotonic()
        # Once a beat, so that a change made by anyone shows without an order.
        whole_shelf = now_s - self._shelf_read_s >= self._limits.beat_ms / 1_000
        packages: dict[int, Package] = {}
        if whole_shelf:
            packages = self._store.read_packages()
        elif names.package_ids:
            packages = self._store.read_packages(names.package_ids)
        if before is not None and any(_limit(p) for p in packages.values()):
            return None  # slots that the other batch takes are not in the database yet
        if whole_shelf:
            self._shelf_read_s = now_s
        # The orders before the units. A writer that slept may end one of these orders until we
        # do: before the first line both show it, between the two our own write is a surprise.
        # The other way round, its unit would be live in memory and never be sold again.
        orders = self._store.read_orders(names.known_ids if fresh else names.order_ids)
        self._load_if_forgotten()
        for package_id in packages:
            if package_id not in self._allotments:
                self._allotments[package_id] = Allotment(self._store.live_units(package_id))
        ledger = Ledger(self._allotments)
        ledger.packages = packages
        ledger.load(orders)
        self._read_slots(ledger, names.customers)
        decided = decide_batch(ledger, batch, taken.now_ms, hold_ms=self._limits.hold_s * 1_000)
        told = Told(
            statuses=[msgspec.structs.astuple(line) for line in decided.statuses],
            reservations=[commands.encode(job).decode() for job in decided.reservations],
        )
        self._project(ledger, told, whole_shelf)
        if whole_shelf:
            told.pressure = self._pressure()
        self._sweep(taken, told)
        return Batch(taken, names, self._store.prepare(decided.changed), told)

    def _pressure(self) -> str:
        """Why the door is to be shut; empty when it need not be."""
        if self._memory_percent() >= self._limits.memory_max_percent:
            return "memory"
        if self._queue.dead_letters() >= self._limits.dead_letters_max:
            return DEAD_LETTERS
        return ""

    def _load_if_forgotten(self) -> None:
        """With many live orders this takes longer than a lease lasts, so the lease is kept."""
        if self._loaded:
            return
        keep = self._keep_lease
        self._projected = self._queue.known_packages()
        self._allotments = {package_id: Allotment() for package_id in self._store.read_packages()}
        highest = self._store.highest_slots(keep)
        for package_id, units in self._store.all_live_units(keep).items():
            keep()
            self._allotments[package_id] = Allotment(units, highest.get(package_id, 0))
        self._loaded = True

    def _read_slots(self, ledger: Ledger, customers: set[Customer]) -> None:
        """Slots above a limit that was lowered count too, as long as their orders live."""
        wanted = {
            slot_key(package_id, email, n): (package_id, email, n)
            for package_id, email in customers
            if (limit := _limit(ledger.packages.get(package_id)))
            for n in range(1, max(limit, self._allotments[package_id].highest_slot) + 1)
        }
        for key in self._store.taken_slots(list(wanted)):
            package_id, email, n = wanted[key]
            ledger.slots.setdefault((package_id, email), set()).add(n)

    def _project(self, ledger: Ledger, told: Told, whole_shelf: bool) -> None:
        """What the shelf shows after this batch, where it differs from what was told before.

        It counts as told from here on. Should the telling fail, everything is forgotten anyway.
        """
        for package_id, package in ledger.packages.items():
            line = project(package, self._allotments[package_id].remaining(package.quota))
            if self._projected.get(line[0]) != line[1:]:
                told.packages.append(line)
                self._projected[line[0]] = line[1:]
        if whole_shelf:
            told.gone = [known for known in self._projected if int(known) not in ledger.packages]
            for known in told.gone:
                del self._projected[known]

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
        if told.commands:
            self._swept_pushed = taken.pushed + len(told.commands)
        self._ask_again(now_s, taken.now_ms, told)

    def _ask_again(self, now_s: float, now_ms: int, told: Told) -> None:
        """Ask the supplier again for cancellations that are owed for long, and not at each sweep:
        what was asked the last time may still wait, and a supplier that is slow or away would
        find the list full of the same jobs.
        """
        if now_s - self._asked_s < self._limits.owed_after_s:
            return
        self._asked_s = now_s
        overdue = self._store.owed_before(now_ms - self._limits.owed_after_s * 1_000, SWEEP_MOST)
        if overdue and self._queue.reservations_waiting() < SWEEP_MOST:
            told.reservations += [
                commands.encode(job).decode() for job in follow_ups(overdue, set())
            ]


def _limit(package: Package | None) -> int:
    return (package.limit_per_customer or 0) if package else 0
