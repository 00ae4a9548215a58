"""From accepted to decided, and to told, at a steady rate; the quota is soon used up.

`decided_ms` is what the documents say: from `accepted_at`, by Valkey's clock, to `decided_at`, by
the clock of the batch that decided. That moment lies before the batch is written. `told_ms` is
therefore measured from outside: from the door's answer to the moment at which a second process
reads the decision from the order's status, which is after the write.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

from bench import ours
from bench.machine import machine
from bench.world import (
    PACKAGE_ID,
    PATIENCE_S,
    ROOT,
    STOP_WITHIN_S,
    BenchError,
    Tell,
    World,
    percentile,
    wait_for,
    world,
)
from queues.keys import BOOKING

QUOTA = 20
FIRING_THREADS = 4

Report = dict[str, Any]


def run(rate: int, seconds: int, tell: Tell) -> Report:
    """`rate` orders a second for `seconds`, one by one through the door's own script.

    Raises BenchError when an order was lost or one too many was given a unit.
    """
    with world() as place:
        place.sell(QUOTA)
        with place.consumer("booking"), _watcher(place) as watcher:
            tell(f"{rate} orders/s for {seconds} s")
            took_s = _fire(place, watcher, rate, seconds)
            waits_ms = _waits(watcher)
        decided_ms = _decided_ms(place)
        orders = rate * seconds
        place.check_sold("orders", orders=min(QUOTA, orders), quota=QUOTA)
        if len(decided_ms) != orders or len(waits_ms) != orders:
            raise BenchError(f"{len(decided_ms)} of {orders} orders decided, {len(waits_ms)} told")
        return {
            "rate_per_s": rate,
            "fired_per_s": round((orders - 1) / took_s, 1),
            "orders": orders,
            "quota": QUOTA,
            "live": min(QUOTA, orders),
            **_spread("decided_ms", decided_ms),
            **_spread("told_ms", waits_ms),
            "machine": machine(place),
        }


def _spread(name: str, values_ms: list[float]) -> dict[str, float]:
    return {
        f"{name}_p50": round(percentile(values_ms, 0.50), 2),
        f"{name}_p99": round(percentile(values_ms, 0.99), 2),
        f"{name}_max": round(max(values_ms), 2),
    }


def told_ms(place: World, rate: int, seconds: int) -> list[float]:
    """How long orders at a steady rate wait for the decision that a second process reads."""
    with _watcher(place) as watcher:
        _fire(place, watcher, rate, seconds)
        return _waits(watcher)


def _fire(place: World, watcher: subprocess.Popen[str], rate: int, seconds: int) -> float:
    """Order at even distances; a late one is not skipped, so the rate holds on the whole.

    Returns how long it took, in seconds.
    """
    door = ours.intake(place)
    assert watcher.stdin is not None
    told, one_line = watcher.stdin, Lock()
    started_s = time.perf_counter()

    def fire(n: int) -> None:
        ahead_s = started_s + n / rate - time.perf_counter()
        if ahead_s > 0:
            time.sleep(ahead_s)
        order_id = door.accept(PACKAGE_ID, f"customer{n}@berth.travel", None).order_id
        line = f"{order_id} {time.monotonic_ns()}\n"
        with one_line:
            told.write(line)
            told.flush()

    # More than one, so that an answer that takes long delays no other order.
    with ThreadPoolExecutor(FIRING_THREADS) as pool:
        list(pool.map(fire, range(rate * seconds)))
    return time.perf_counter() - started_s


@contextmanager
def _watcher(place: World) -> Iterator[subprocess.Popen[str]]:
    ready = BOOKING.prefix + "bench-watcher"
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.watch", ready], cwd=ROOT, env=place.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    try:
        wait_for(lambda: place.valkey.exists(ready) == 1, "the watcher")
        yield process
    finally:
        process.kill()
        process.wait(STOP_WITHIN_S)


def _waits(watcher: subprocess.Popen[str]) -> list[float]:
    """End the watcher's input, and read what it saw."""
    output, _ = watcher.communicate(timeout=PATIENCE_S)
    if watcher.returncode:
        raise BenchError("the watcher failed")
    waits_ms: list[float] = json.loads(output)
    return waits_ms


def _decided_ms(place: World) -> list[float]:
    """From the first line of each order's history to its second, held or rejected."""
    first_two = {"$slice": ["$history", 2]}
    return [
        (line["steps"][1]["at"] - line["steps"][0]["at"]).total_seconds() * 1_000
        for line in place.database.orders.aggregate([{"$project": {"steps": first_two}}])
    ]
