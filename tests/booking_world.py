"""The booking road on real engines, for tests: campaigns, orders, consumers driven step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import redis
from pymongo.database import Database

from booking import commands, dead_letters
from booking.commands import Command, Compensate, PlaceOrder, ReservationJob, Reserve
from booking.dead_letters import DeadLetter
from booking.documents import Document, package_document
from booking.intake import Intake
from booking.model import FINAL, LIVE, Order, Package, PackageFacts, State
from booking.projection import Shelf
from booking.store import BookingStore
from consumer.batches import Limits
from consumer.booking import BookingConsumer
from queues.keys import BOOKING
from queues.reliable import BookingQueue
from settings import Settings

LIMITS = Limits(
    batch_max=100, beat_ms=20, lease_ms=5_000, sweep_every_ms=0, hold_s=300, owed_after_s=30,
    singles_after_deliveries=3, bury_after_deliveries=5, memory_max_percent=75,
    dead_letters_max=10_000,
)  # fmt: skip
STEPS_MAX = 300


def package(package_id: int = 1, quota: int = 2, **changes: Any) -> Package:
    facts = PackageFacts(package_id, f"Flight-{package_id}", "2022-08-09", "49.90", "EUR")
    return Package(facts=facts, quota=quota, **changes)


def place(order_id: str, package_id: int = 1, *, email: str = "", accepted_ms: int = 1_000
          ) -> PlaceOrder:
    email = email or f"{order_id.lower()}@example.org"
    return PlaceOrder(order_id=order_id, package_id=package_id, email=email,
                      accepted_ms=accepted_ms)


class World:
    """One road: its keys in Valkey, its collections in MongoDB, and what tests ask of them."""

    def __init__(
        self, valkey: redis.Redis, database: Database[Document], settings: Settings
    ) -> None:
        self.valkey = valkey
        self.database = database
        self.settings = settings
        self.store = BookingStore(database)
        self.store.ensure_indexes()
        self.queue = self.new_queue()
        self.intake = Intake(valkey, backlog_max_jobs=1_000, backlog_max_bytes=1_000_000,
                             idempotency_ttl_s=60)
        self.shelf = Shelf(valkey)

    # --- what happens -------------------------------------------------------------------------

    def sell(self, *packages: Package) -> None:
        """Put packages on sale, as an operator does: in MongoDB alone."""
        for one in packages:
            self.database.packages.replace_one(
                {"_id": one.facts.id}, package_document(one), upsert=True
            )

    def through_the_door(self, count: int) -> list[str]:
        """Orders of package 1, accepted and waiting."""
        opener = self.consumer("opener")
        opener.step()
        opener.leave()
        return [self.intake.accept(1, f"a{n}@example.org", None).order_id for n in range(count)]

    def push(self, *jobs: Command) -> None:
        self.queue.push([commands.encode(job) for job in jobs])

    def push_raw(self, *jobs: bytes) -> None:
        self.queue.push(jobs)

    def new_queue(self, kind: type[BookingQueue] = BookingQueue, **changes: Any) -> BookingQueue:
        options = {"lease_ms": LIMITS.lease_ms, "status_ttl_s": 3_600, **changes}
        return kind(self.valkey, BOOKING, **options)

    def consumer(
        self,
        name: str = "one",
        *,
        queue: Any = None,
        store: Any = None,
        memory_percent: Callable[[], int] = lambda: 0,
        monotonic: Callable[[], float] | None = None,
        stop: threading.Event | None = None,
        **limits: int,
    ) -> BookingConsumer:
        clock = {} if monotonic is None else {"monotonic": monotonic}
        return BookingConsumer(
            queue or self.queue,
            store or self.store,
            msgspec.structs.replace(LIMITS, **limits),
            name=name,
            memory_percent=memory_percent,
            stop=stop or threading.Event(),
            **clock,
        )

    def settle(self, consumer: BookingConsumer) -> None:
        """Step until nothing waits and nothing is in flight."""
        for _ in range(STEPS_MAX):
            if not self.backlog() and self.valkey.hexists(BOOKING.batch, "number"):
                return
            consumer.step()
        raise AssertionError(f"after {STEPS_MAX} steps {self.backlog()} jobs are left")

    def lease_runs_out(self) -> None:
        """The holder died a while ago."""
        self.valkey.delete(BOOKING.lease)

    def heartbeats_run_out(self) -> None:
        """Every reservation worker died a while ago."""
        workers = BOOKING.reservations.workers
        for name in self.valkey.zrange(workers, 0, -1):
            self.valkey.zadd(workers, {name: 1})

    # --- what is there ------------------------------------------------------------------------

    def backlog(self) -> int:
        return int(self.valkey.llen(BOOKING.jobs)) + int(self.valkey.llen(BOOKING.inflight))

    def orders(self) -> dict[str, Order]:
        ids = [document["_id"] for document in self.database.orders.find({}, {"_id": 1})]
        return {order.order_id: order for order in self.store.read_orders(ids)}

    def order(self, order_id: str) -> Order:
        found = self.store.find_order(order_id)
        assert found is not None, f"there is no order {order_id}"
        return found

    def states(self) -> dict[str, State]:
        return {order_id: order.state for order_id, order in self.orders().items()}

    def status(self, order_id: str) -> dict[str, str]:
        found = self.valkey.hgetall(BOOKING.status(order_id))
        return {name.decode(): value.decode() for name, value in found.items()}

    def reservation_jobs(self) -> list[ReservationJob]:
        """What waits for the reservation consumers, oldest first."""
        raw = self.valkey.lrange(BOOKING.reservations.waiting, 0, -1)
        return [commands.decode_reservation_job(job) for job in reversed(raw)]

    def reserve_ids(self) -> list[str]:
        return [job.order_id for job in self.reservation_jobs() if isinstance(job, Reserve)]

    def compensate_ids(self) -> list[str]:
        return [job.order_id for job in self.reservation_jobs() if isinstance(job, Compensate)]

    def letters(self) -> list[DeadLetter]:
        return [dead_letters.decode(raw) for raw in self.valkey.lrange(BOOKING.dead, 0, -1)]

    def remaining(self, package_id: int = 1) -> int:
        view = self.shelf.package(package_id)
        assert view is not None, f"package {package_id} is not on the shelf"
        return view.remaining

    # --- what must hold -----------------------------------------------------------------------

    def check(self, quotas: dict[int, int] | None = None) -> None:
        """The promises, recomputed from the documents."""
        orders = self.orders().values()
        live = [order for order in orders if order.state in LIVE]
        units = [(order.package_id, order.unit) for order in live]
        assert len(units) == len(set(units)), "a unit was given twice"
        slots = [(order.package_id, order.email.casefold(), order.slot)
                 for order in live if order.slot is not None]
        assert len(slots) == len(set(slots)), "a slot was given twice"
        for order in orders:
            if order.state in LIVE:
                assert order.unit is not None
                assert order.quota_seen is not None
                assert 1 <= order.unit <= order.quota_seen
            else:
                assert order.unit is None, "an order that ended kept its unit"
                assert order.slot is None, "an order that ended kept its slot"
                assert order.hold_expires_ms is None
            assert order.history[-1].state == order.state
            steps = [event.state for event in order.history]
            assert len(steps) == len(set(steps)), f"a step was taken twice: {steps}"
        for package_id, quota in (quotas or {}).items():
            assert sum(order.package_id == package_id for order in live) <= quota, "oversold"

    def check_told(self, order_ids: Iterable[str]) -> None:
        """What Valkey says of orders that came through the door agrees with the documents."""
        for order_id in order_ids:
            order, said = self.order(order_id), self.status(order_id)
            assert said["state"] == order.state
            assert said.get("reason", "") == (order.reason or "")
            assert (self.valkey.pttl(BOOKING.status(order_id)) > 0) == (order.state in FINAL)
