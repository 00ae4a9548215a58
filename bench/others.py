"""The other contenders under the clock. Each returns orders per second, checked afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from bench import direct
from bench.direct import DirectBooking, OrderLine, some_orders
from bench.peers import PEERS, Peer
from bench.world import PATIENCE_S, ROOT, BenchError, World, wait_for
from booking.documents import Document

THREADS = 8
WARM_UP = 32
ASIDE = "bench-aside"


def raw(place: World, documents: list[Document]) -> float:
    """The ceiling: insert_many of the documents that the consumer inserted, by one thread, with
    the same indexes and batch size.
    """
    collection = place.orders_like("raw_orders")
    size = place.settings.batch_max
    started_s = time.perf_counter()
    for start in range(0, len(documents), size):
        collection.insert_many(documents[start : start + size], ordered=False)
    rate = len(documents) / (time.perf_counter() - started_s)
    place.check_sold("raw_orders", orders=len(documents), quota=len(documents))
    return rate


def direct_booking(place: World, orders: int) -> float:
    """A guarded decrement and an insert per order, from 8 threads."""
    booking = _on_sale(place, orders)
    return _by_threads(place, orders, lambda order: booking.book(*order))


def lock(place: World, orders: int) -> float:
    """Read, check and write under a Redis lock, from 8 threads."""
    booking = _on_sale(place, orders)
    return _by_threads(place, orders, lambda order: booking.book_locked(place.valkey, *order))


def _by_threads(place: World, orders: int, book: Callable[[OrderLine], None]) -> float:
    lines = some_orders(orders)
    with ThreadPoolExecutor(THREADS) as pool:
        started_s = time.perf_counter()
        list(pool.map(book, lines))
        rate = orders / (time.perf_counter() - started_s)
    place.check_sold(direct.ORDERS, orders=orders, quota=orders)
    return rate


def _on_sale(place: World, quota: int) -> DirectBooking:
    place.orders_like(direct.ORDERS)
    booking = DirectBooking(place.database)
    booking.sell(quota)
    return booking


def check_installed(names: list[str]) -> None:
    """Raises BenchError that says how to get the peers that are missing."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise BenchError(
            f"{', '.join(missing)}: not installed. Run `pip install -r requirements-dev.txt`, or "
            "leave them out with --contenders."
        )


def peer(place: World, one: Peer, orders: int) -> float:
    """A task queue: its tasks wait before the clock starts, its worker has run some already.

    The list of waiting tasks is put aside while the worker starts and warms up. When the last
    order is in the database the clock stops, though that task is not yet acknowledged.
    """
    place.valkey.flushdb()
    _on_sale(place, orders + WARM_UP)
    placed = place.database[direct.ORDERS].estimated_document_count
    _enqueue(place, one, orders)
    place.valkey.rename(one.waiting, ASIDE)
    worker = [word.format(redis_url=place.settings.redis_url) for word in one.worker]
    with place.child(*worker) as child:
        _enqueue(place, one, WARM_UP)
        wait_for(lambda: placed() >= WARM_UP, f"{one.name}, warm", child)
        started_s = time.perf_counter()
        place.valkey.rename(ASIDE, one.waiting)
        wait_for(lambda: placed() >= WARM_UP + orders, f"the last order of {one.name}", child)
        rate = orders / (time.perf_counter() - started_s)
    place.check_sold(direct.ORDERS, orders=orders + WARM_UP, quota=orders + WARM_UP)
    return rate


def _enqueue(place: World, one: Peer, orders: int) -> None:
    """In a process of its own, which alone imports the peer."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers", one.name, str(orders)], cwd=ROOT,
        env=place.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )
    if done.returncode:
        raise BenchError(f"{one.name} could not enqueue:\n{done.stderr[-1_500:]}")


def share(name: str, orders: int) -> int:
    """How many of a round's orders a slower contender gets."""
    parts = {"direct": 0.25, "lock": 0.06} | {one.name: one.share for one in PEERS.values()}
    return max(1, round(orders * parts.get(name, 1.0)))
