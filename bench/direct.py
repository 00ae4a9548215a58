"""The booking that most would write, and the one that the queue replaced.

`book` is a guarded decrement and an insert: correct with any number of writers, and what each of
the task queues does in a task. `book_locked` reads, checks and writes under a lock in Valkey, as
the system that Berth grew from did. Both write the document that Berth writes.
"""

from __future__ import annotations

import time

import redis
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from ulid import ULID

from bench.world import DURABLE, PACKAGE_ID, BenchError, offer
from booking.documents import Document, order_document
from booking.model import Event, Order, State

ORDERS = "direct_orders"
PACKAGES = "direct_packages"
HOLD_MS = 300_000
# A holder that dies must not stop the sale for ever.
LOCK_TIMEOUT_S = 10.0


OrderLine = tuple[str, str, int]


def some_orders(count: int) -> list[OrderLine]:
    """New orders: id, e-mail, moment of acceptance in milliseconds."""
    now_ms = time.time_ns() // 1_000_000
    return [(str(ULID()), f"customer{n}@berth.travel", now_ms) for n in range(count)]


class DirectBooking:
    """Orders and packages without a queue of our own. Thread-safe."""

    def __init__(self, database: Database[Document]) -> None:
        self._orders: Collection[Document] = database.get_collection(
            ORDERS, write_concern=DURABLE)
        self._packages: Collection[Document] = database.get_collection(
            PACKAGES, write_concern=DURABLE)

    def sell(self, quota: int) -> None:
        """Put `quota` units of the one package on sale, and nothing else."""
        self._packages.drop()
        self._packages.insert_one({"_id": PACKAGE_ID, "quota": quota, "left": quota})

    def book(self, order_id: str, email: str, accepted_ms: int) -> None:
        """Take a unit and write the order. Raises BenchError when none is left."""
        package = self._packages.find_one_and_update(
            {"_id": PACKAGE_ID, "left": {"$gt": 0}}, {"$inc": {"left": -1}},
            return_document=ReturnDocument.AFTER,
        )
        self._insert(order_id, email, accepted_ms, package)

    def book_locked(
        self, client: redis.Redis, order_id: str, email: str, accepted_ms: int
    ) -> None:
        """Read what is left, check it, write it back and write the order, under one lock."""
        with client.lock("bench-lock", timeout=LOCK_TIMEOUT_S):
            package = self._packages.find_one({"_id": PACKAGE_ID})
            if package is not None and package["left"] > 0:
                package["left"] -= 1
                self._packages.update_one(
                    {"_id": PACKAGE_ID}, {"$set": {"left": package["left"]}}
                )
            else:
                package = None
            self._insert(order_id, email, accepted_ms, package)

    def _insert(
        self, order_id: str, email: str, accepted_ms: int, package: Document | None
    ) -> None:
        if package is None:
            raise BenchError("the direct booking ran out of units")
        unit = package["quota"] - package["left"]
        self._orders.insert_one(held_document(order_id, email, accepted_ms, unit, package["quota"]))


def held_document(
    order_id: str, email: str, accepted_ms: int, unit: int, quota: int
) -> Document:
    """A held order as Berth writes it."""
    now_ms = time.time_ns() // 1_000_000
    return order_document(Order(
        order_id=order_id, email=email, package_id=PACKAGE_ID, package=offer(quota).facts,
        state=State.HELD, reason=None, accepted_ms=accepted_ms, decided_ms=now_ms,
        history=(Event(State.QUEUED, None, accepted_ms), Event(State.HELD, None, now_ms)),
        unit=unit, quota_seen=quota, hold_expires_ms=now_ms + HOLD_MS,
    ))
