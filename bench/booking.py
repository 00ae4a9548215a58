"""The same booking, durable in the same way, on the same engines, in the same run.

Every contender turns orders into held orders with a unit of their own: majority and journaled in
MongoDB, and for those with a queue, appendfsync always in Valkey. They take turns, round by round;
the medians of the rounds are reported, and ratios are medians of each round's ratio.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pymongo import ReturnDocument
from ulid import ULID

from bench.world import ROOT, World, wait_for, world
from booking import commands
from booking.documents import Document, unit_key
from errors import BerthError
from queues.keys import BOOKING

PACKAGE_ID = 1
STAGING = BOOKING.prefix + "bench-staging"
PUSH_CHUNK = 2_000
DIRECT_THREADS = 8


def run(orders: int, rounds: int, tell: Callable[[str], None]) -> dict[str, float | int]:
    """All contenders, `rounds` times. Returns the fields of the JSON line."""
    figures: dict[str, list[float]] = {}
    with world() as place:
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}")
            for name, rate in _round(place, orders).items():
                figures.setdefault(name, []).append(rate)
                tell(f"  {name}: {rate:,.0f}")
    held = figures["held_per_s"]
    report: dict[str, float | int] = {"orders": orders, "rounds": rounds}
    for name, rates in figures.items():
        report[name] = round(statistics.median(rates), 1)
        if name not in ("held_per_s", "settled_per_s"):
            ratios = [ours / theirs for ours, theirs in zip(held, rates, strict=True)]
            report["ratio_" + name.removesuffix("_per_s")] = round(statistics.median(ratios), 3)
    return report


def _round(place: World, orders: int) -> dict[str, float]:
    held, settled = _ours(place, orders)
    documents = list(place.database.orders.find({"state": "confirmed"}).limit(orders))
    documents += list(place.database.orders.find({"state": "failed"}).limit(orders))
    sample = [_as_held(document, n) for n, document in enumerate(documents, start=1)]
    return {
        "held_per_s": held,
        "settled_per_s": settled,
        "raw_per_s": _raw(place, sample),
        "direct_per_s": _direct(place, sample[: max(1_000, orders // 8)]),
    }


def _as_held(document: Document, number: int) -> Document:
    """The document as the consumer had inserted it, before its reservation settled."""
    held = {**document, "state": "held", "reason": None, "unit": unit_key(PACKAGE_ID, number),
            "hold_expires_at": document["decided_at"], "history": document["history"][:2]}
    for name in ("flight_ticket_number", "hotel_reservation_number"):
        held.pop(name, None)
    return held


def _ours(place: World, orders: int) -> tuple[float, float]:
    """Held per second by one consumer process; then held and settled, with a stand-in supplier."""
    held_s = _drain(place, orders, settle=False)
    settled_s = _drain(place, orders, settle=True)
    return orders / held_s, orders / settled_s


def _drain(place: World, orders: int, *, settle: bool) -> float:
    place.clear()
    place.database.packages.insert_one({
        "_id": PACKAGE_ID, "flight": "LIS-NRT BE204", "stay": "2027-03-01", "price": "100.00",
        "currency": "EUR", "quota": orders,
    })
    with place.consumer("booking"):
        _stage(place, orders)
        pushed = int(place.valkey.hget(BOOKING.counters, "pushed") or 0)
        stand_in = _stand_in(place, orders) if settle else None
        expected = pushed + orders * (2 if settle else 1)
        started_s = time.perf_counter()
        pipe = place.valkey.pipeline(transaction=True)
        pipe.rename(STAGING, BOOKING.jobs)
        pipe.hincrby(BOOKING.counters, "pushed", orders)
        pipe.lpush(BOOKING.bell, "1")
        pipe.execute()
        wait_for(lambda: int(place.valkey.hget(BOOKING.counters, "applied") or 0) >= expected,
                 "the end of the backlog")
        took_s = time.perf_counter() - started_s
        if stand_in is not None and stand_in.wait(30) != 0:
            raise BerthError("the stand-in supplier failed")
    final = {"$in": ["confirmed", "failed"]} if settle else "held"
    found = place.database.orders.count_documents({"state": final})
    if found != orders:
        raise BerthError(f"{found} of {orders} orders came out: the figure would be a lie")
    return took_s


def _stage(place: World, orders: int) -> None:
    """Jobs as the door writes them, kept aside so that the clock starts with all of them there."""
    for start in range(0, orders, PUSH_CHUNK):
        jobs = [
            commands.encode(commands.PlaceOrder(
                order_id=str(ULID()), package_id=PACKAGE_ID, email=f"customer{n}@berth.travel",
                accepted_ms=time.time_ns() // 1_000_000,
            ))
            for n in range(start, min(orders, start + PUSH_CHUNK))
        ]
        place.valkey.lpush(STAGING, *jobs)


def _stand_in(place: World, orders: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stand_in", str(orders)],
        cwd=ROOT, env=place.environment, stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()  # it is connected and waits for the first job
    return process


def _raw(place: World, sample: list[Document]) -> float:
    """The ceiling: insert_many of the same documents, indexes and batch size."""
    collection = place.orders_like("raw_orders")
    size = place.settings.batch_max
    started_s = time.perf_counter()
    for start in range(0, len(sample), size):
        collection.insert_many(sample[start : start + size], ordered=False)
    return len(sample) / (time.perf_counter() - started_s)


def _direct(place: World, sample: list[Document]) -> float:
    """What most would write: one guarded decrement and one insert per order, from 8 threads."""
    collection = place.orders_like("direct_orders")
    packages = place.database.get_collection(
        "direct_packages", write_concern=collection.write_concern
    )
    packages.drop()
    packages.insert_one({"_id": PACKAGE_ID, "left": len(sample)})

    def book(document: Document) -> None:
        package = packages.find_one_and_update(
            {"_id": PACKAGE_ID, "left": {"$gt": 0}}, {"$inc": {"left": -1}},
            return_document=ReturnDocument.AFTER,
        )
        if package is None:
            raise BerthError("the direct booking ran out of units")
        collection.insert_one(document)

    started_s = time.perf_counter()
    with ThreadPoolExecutor(DIRECT_THREADS) as pool:
        list(pool.map(book, sample))
    return len(sample) / (time.perf_counter() - started_s)
