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
from bench.world import PACKAGE_ID, Child, Tell, World, wait_for, world
from booking.documents import order_document
from booking.model import Event, Order, State
from queues.keys import BOOKING

CHUNK = 10_000
OWNERS = 1_000

Report = dict[str, object]


def run(orders: int, rounds: int, tell: Tell) -> Report:
    """`rounds` takeovers over `orders` live orders. Returns the fields of the JSON line."""
    took_ms: list[float] = []
    peak_mb: list[float] = []
    with world() as place:
        place.sell(orders + OWNERS)
        _fill(place, orders, tell)
        for number in range(1, rounds + 1):
            with place.consumer("booking") as holder, \
                    place.child("-m", "consumer", "booking") as standby:
                peak_mb.append(_peak_mb(holder))
                took_ms.append(_kill_and_order(place, holder, f"round{number}"))
                standby.check()
            tell(f"round {number} of {rounds}   {took_ms[-1]:,.0f} ms, {peak_mb[-1]:,.0f} MB")
        found = machine(place)
    return {
        "orders": orders, "rounds": rounds,
        "takeover_ms": round(statistics.median(took_ms)), "takeover_ms_max": round(max(took_ms)),
        "holder_peak_mb": round(max(peak_mb), 1), "machine": found,
    }


def _fill(place: World, orders: int, tell: Tell) -> None:
    collection = place.database.orders
    for start in range(0, orders, CHUNK):
        collection.insert_many(
            [_held(n) for n in range(start + 1, min(orders, start + CHUNK) + 1)], ordered=False
        )
        if start % (10 * CHUNK) == 0:
            tell(f"{start:,} of {orders:,} orders are there")


def _held(number: int) -> dict[str, object]:
    at_ms = time.time_ns() // 1_000_000
    return order_document(Order(
        order_id=f"{number:026d}", email=f"customer{number}@berth.travel", package_id=PACKAGE_ID,
        package=None, state=State.CONFIRMED, reason=None, accepted_ms=at_ms, decided_ms=at_ms,
        history=(Event(State.QUEUED, None, at_ms), Event(State.HELD, None, at_ms),
                 Event(State.CONFIRMED, None, at_ms)),
        unit=number, quota_seen=number,
    ))


def _peak_mb(child: Child) -> float:
    """The most that the process has held in memory so far."""
    status = Path(f"/proc/{child.process.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1_024


def _kill_and_order(place: World, holder: Child, email: str) -> float:
    begun_s = time.perf_counter()
    holder.process.kill()
    order_id = intake(place).accept(PACKAGE_ID, f"{email}@berth.travel", None).order_id
    wait_for(lambda: place.valkey.hget(BOOKING.status(order_id), "state") == b"held",
             "the order is told")
    return (time.perf_counter() - begun_s) * 1_000
