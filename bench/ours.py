"""Berth itself under the clock: orders come in through the door, the real consumer takes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.world import PACKAGE_ID, BenchError, Child, World, wait_for
from booking.documents import Document
from booking.intake import Intake
from queues.keys import BOOKING

ASIDE = BOOKING.prefix + "bench-aside"
DOOR_THREADS = 16


def held(place: World, orders: int) -> tuple[float, list[Document]]:
    """Held orders per second by one consumer, and the documents that it inserted."""
    took_s = _drain(place, orders, settle=False)
    documents = list(place.database.orders.find({"state": "held"}))
    if len(documents) != orders:
        raise BenchError(f"{len(documents)} of {orders} orders were held")
    place.check_sold("orders", orders=orders, quota=orders)
    return orders / took_s, documents


def settled(place: World, orders: int) -> float:
    """Orders per second that were held and then confirmed or failed, half of them each."""
    took_s = _drain(place, orders, settle=True)
    confirmed = place.database.orders.count_documents({"state": "confirmed"})
    failed = place.database.orders.count_documents({"state": "failed"})
    if confirmed + failed != orders or abs(confirmed - failed) > 1:
        raise BenchError(f"{confirmed} confirmed and {failed} failed of {orders} orders")
    place.check_sold("orders", orders=confirmed, quota=orders)
    return orders / took_s


def intake(place: World) -> Intake:
    """The door, as the web builds it."""
    settings = place.settings
    return Intake(
        place.valkey,
        backlog_max_jobs=settings.backlog_max_jobs,
        backlog_max_bytes=settings.backlog_max_bytes,
        idempotency_ttl_s=settings.idempotency_ttl_s,
    )


def _drain(place: World, orders: int, *, settle: bool) -> float:
    """How long the consumer takes for a backlog of `orders`, in seconds."""
    place.sell(orders)
    with place.consumer("booking"):
        pass  # it has told the door which packages there are
    _accept_aside(place, orders)
    with place.consumer("booking") as consumer:
        # It found the list empty, and waits for the bell.
        wait_for(lambda: _counter(place, "applied") >= orders, "an idle consumer", consumer)
        with _stand_in(place, orders if settle else 0):
            started_s = time.perf_counter()
            _put_back(place, orders)
            end = orders * (3 if settle else 2)
            wait_for(lambda: _counter(place, "applied") >= end, "the end of the backlog", consumer)
            return time.perf_counter() - started_s


def _accept_aside(place: World, orders: int) -> None:
    """Take orders at the door, then put the list aside: the clock starts with all of them there.

    Status keys and jobs are those that the web leaves, because the door is the web's own.
    """
    door = intake(place)
    with ThreadPoolExecutor(DOOR_THREADS) as pool:
        list(pool.map(
            lambda n: door.accept(PACKAGE_ID, f"customer{n}@berth.travel", None), range(orders)
        ))
    place.valkey.rename(BOOKING.jobs, ASIDE)


def _put_back(place: World, orders: int) -> None:
    pipe = place.valkey.pipeline(transaction=True)
    pipe.rename(ASIDE, BOOKING.jobs)
    pipe.hincrby(BOOKING.counters, "pushed", orders)
    pipe.lpush(BOOKING.bell, "1")
    pipe.execute()


def _counter(place: World, name: str) -> int:
    return int(place.valkey.hget(BOOKING.counters, name) or 0)


@contextmanager
def _stand_in(place: World, orders: int) -> Iterator[Child | None]:
    """The supplier without latency, connected and waiting; none for no orders."""
    if not orders:
        yield None
        return
    ready = BOOKING.prefix + "bench-stand-in"
    with place.child("-m", "bench.stand_in", str(orders), ready) as child:
        wait_for(lambda: place.valkey.exists(ready) == 1, "the stand-in supplier", child)
        yield child
