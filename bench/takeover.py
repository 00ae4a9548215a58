"""With a million orders in the database: what the lease holder needs, and how fast it is replaced.

All orders are live, which is the worst that memory can be asked for. The holder is killed with
`kill -9` while a standby waits; the clock runs until an order that is placed then is told.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench.machine import machine
from bench.ours import intake
from bench.world import PACKAGE_ID, Child, Tell, World, offer, wait_for, world
from booking.documents import Document, order_document, unit_key
from booking.model import Event, Order, State
from queues.keys import BOOKING

CHUNK = 10_000
SPARE = 1_000

Report = dict[str, object]


def run(orders: int, rounds: int, tell: Tell) -> Report:
    """`rounds` takeovers over `orders` live orders. Returns the fields of the JSON line."""
    took_s: list[float] = []
    peak_mb: list[float] = []
    with world() as place:
        place.sell(orders + SPARE)
        _fill(place, orders, tell)
        for number in range(1, rounds + 1):
            with place.consumer("booking") as holder, \
                    place.child("-m", "consumer", "booking") as standby:
                _order(place, f"before{number}")
                took_s.append(_kill_and_order(place, holder, f"after{number}"))
                # It has loaded them all, has written and told: this is the most that it needs.
                peak_mb.append(_peak_mb(standby))
                standby.check()
            tell(f"round {number} of {rounds}   {took_s[-1]:.2f} s, {peak_mb[-1]:,.0f} MB")
        place.check_sold("orders", orders=orders + 2 * rounds, quota=orders + SPARE)
        found = machine(place)
    return {
        "orders": orders, "rounds": rounds,
        "takeover_s": round(statistics.median(took_s), 2), "takeover_s_max": round(max(took_s), 2),
        "consumer_mb": round(max(peak_mb), 1), "machine": found,
    }


def _fill(place: World, orders: int, tell: Tell) -> None:
    collection = place.database.orders
    pattern = _confirmed()
    for start in range(0, orders, CHUNK):
        collection.insert_many(
            ({**pattern, "_id": f"{n:026d}", "email": f"customer{n}@berth.travel",
              "unit": unit_key(PACKAGE_ID, n)}
             for n in range(start + 1, min(orders, start + CHUNK) + 1)), ordered=False,
        )
        if start % (10 * CHUNK) == 0:
            tell(f"{start:,} of {orders:,} orders are there")


def _confirmed() -> Document:
    """A live order as the store writes it."""
    at_ms = time.time_ns() // 1_000_000
    return order_document(Order(
        order_id="", email="", package_id=PACKAGE_ID, package=offer(SPARE).facts,
        state=State.CONFIRMED, reason=None, accepted_ms=at_ms, decided_ms=at_ms,
        history=(Event(State.QUEUED, None, at_ms), Event(State.HELD, None, at_ms),
                 Event(State.CONFIRMED, None, at_ms)),
        unit=1, quota_seen=1,
    ))


def _peak_mb(child: Child) -> float:
    """The most that the process has held in memory so far."""
    status = Path(f"/proc/{child.process.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1_024


def _kill_and_order(place: World, holder: Child, name: str) -> float:
    begun_s = time.perf_counter()
    holder.process.kill()
    _order(place, name)
    return time.perf_counter() - begun_s


def _order(place: World, name: str) -> None:
    """Place an order, and wait until it is told."""
    order_id = intake(place).accept(PACKAGE_ID, f"{name}@berth.travel", None).order_id
    wait_for(lambda: place.valkey.hget(BOOKING.status(order_id), "state") == b"held",
             "the order is told")
