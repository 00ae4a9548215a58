"""The booking road in one process: the real door, consumer and saga, a step at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

import bootstrap
from booking import commands
from booking.commands import (
    Command,
    Compensate,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    ReservationJob,
)
from booking.documents import package_document
from booking.intake import Intake
from booking.model import Package, PackageFacts, Reason
from consumer.booking import BookingConsumer, Limits
from queues.keys import BOOKING
from settings import Settings

STEPS_MAX = 200
Answer = Callable[[ReservationJob], Command | None]


def package(number: int, quota: int, *, limit: int | None = None) -> Package:
    facts = PackageFacts(number, f"Flight-{number}", "2022-08-09", "100.00", "USD")
    return Package(facts=facts, quota=quota, limit_per_customer=limit)


def confirmed(job: ReservationJob) -> Command:
    """A supplier that books everything, with the order's id in its numbers."""
    if isinstance(job, Compensate):
        return ReservationCompensated(order_id=job.order_id)
    return ReservationConfirmed(order_id=job.order_id, flight_ticket_number=f"F-{job.order_id}",
                                hotel_reservation_number=f"H-{job.order_id}")


def declined(job: ReservationJob) -> Command:
    """A supplier that has nothing left."""
    if isinstance(job, Compensate):
        return ReservationCompensated(order_id=job.order_id)
    return ReservationFailed(order_id=job.order_id, reason=Reason.FLIGHT_DECLINED)


class Road:
    """Everything between the door and the last status, moved by the test alone."""

    def __init__(self, settings: Settings) -> None:
        # The test moves the consumer: its lease must last from one step to the next.
        self.settings = msgspec.structs.replace(settings, beat_ms=50, lease_ms=60_000)
        self.client = bootstrap.connect_valkey(self.settings)
        self.mongo = bootstrap.connect_mongo(self.settings)
        self.database = bootstrap.database(self.settings, self.mongo)
        self.orders = self.database["orders"]
        self.store = bootstrap.booking_store(self.settings)
        self.store.ensure_indexes()
        self.queue = bootstrap.booking_queue(self.settings, self.client)
        self.intake = Intake(self.client, backlog_max_jobs=100_000, backlog_max_bytes=2**26,
                             idempotency_ttl_s=3_600)
        self.consumer = self.new_consumer()

    def new_consumer(self) -> BookingConsumer:
        limits = msgspec.convert(self.settings, Limits, from_attributes=True)
        return BookingConsumer(self.queue, self.store, limits, name="test",
                               memory_percent=lambda: 0, stop=threading.Event())

    def environment(self) -> dict[str, str]:
        """What a command needs to find this road."""
        found = self.settings
        return {
            "DATA_DIR": found.data_dir,
            "REDIS_URL": found.redis_url,
            "MONGO_URL": found.mongo_url,
            "MONGO_DATABASE": found.mongo_database,
            "SIMULATOR_PORT": str(found.simulator_port),
            "BEAT_MS": str(found.beat_ms),
        }

    def sell(self, *packages: Package) -> None:
        """Put packages on the shelf."""
        for one in packages:
            self.database["packages"].insert_one(package_document(one))
        self.work()

    def order(self, package_id: int, email: str = "anna@example.org", key: str | None = None
              ) -> str:
        return self.intake.accept(package_id, email, key).order_id

    def work(self) -> None:
        """Until no job waits; then a step more, which projects the packages."""
        for _ in range(STEPS_MAX):
            idle = not self.client.llen(BOOKING.jobs) and not self.client.llen(BOOKING.inflight)
            self.consumer.step()
            if idle:
                return
        raise AssertionError("the booking road does not come to rest")

    def supply(self, answer: Answer = confirmed) -> None:
        """Do all reservation jobs with this supplier, and take its reports."""
        work = bootstrap.reservation_work(self.settings, self.client, "test-worker")
        for _ in range(STEPS_MAX):
            jobs = work.beat(100)[1]
            if not jobs:
                work.leave()
                return
            for job in jobs:
                report = answer(commands.decode_reservation_job(job))
                work.report(job, commands.encode(report) if report else b"")
            self.work()
        raise AssertionError("the reservations do not come to rest")

    def close(self) -> None:
        self.consumer.leave()
        self.client.close()
        self.mongo.close()


@contextmanager
def running_road(settings: Settings) -> Iterator[Road]:
    road = Road(settings)
    try:
        yield road
    finally:
        road.close()
