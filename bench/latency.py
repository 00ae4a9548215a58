"""From accepted to decided at a steady rate, most orders rejected because the quota is small."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.world import World, percentile, wait_for, world
from booking.intake import Intake
from queues.keys import BOOKING

QUOTA = 20


def run(rate: int, seconds: int, tell: Callable[[str], None]) -> dict[str, float | int]:
    """`rate` orders a second for `seconds`, one by one through the door's own script."""
    with world() as place:
        place.clear()
        place.database.packages.insert_one({
            "_id": 1, "flight": "LIS-NRT BE204", "stay": "2027-03-01", "price": "100.00",
            "currency": "EUR", "quota": QUOTA,
        })
        with place.consumer("booking"):
            tell(f"{rate} orders/s for {seconds} s")
            orders = _fire(place, rate, seconds)
            wait_for(lambda: place.database.orders.estimated_document_count() >= orders,
                     "the last decision")
        waits_ms = [
            (line["decided_at"] - line["accepted_at"]).total_seconds() * 1_000
            for line in place.database.orders.aggregate([
                {"$project": {"accepted_at": 1, "decided_at": {
                    "$getField": {"field": "at", "input": {"$arrayElemAt": ["$history", 1]}}}}},
            ])
        ]
        live = place.database.orders.count_documents({"unit": {"$exists": True}})
    return {
        "rate_per_s": rate,
        "orders": orders,
        "live": live,
        "quota": QUOTA,
        "decided_ms_p50": round(percentile(waits_ms, 0.50), 2),
        "decided_ms_p99": round(percentile(waits_ms, 0.99), 2),
        "decided_ms_max": round(max(waits_ms), 2),
    }


def _fire(place: World, rate: int, seconds: int) -> int:
    """Order at even distances; a late one is not skipped, so the rate holds on the whole."""
    settings = place.settings
    intake = Intake(
        place.valkey,
        backlog_max_jobs=settings.backlog_max_jobs,
        backlog_max_bytes=settings.backlog_max_bytes,
        idempotency_ttl_s=settings.idempotency_ttl_s,
    )
    started_s = time.perf_counter()
    orders = rate * seconds
    for n in range(orders):
        ahead_s = started_s + n / rate - time.perf_counter()
        if ahead_s > 0:
            time.sleep(ahead_s)
        intake.accept(1, f"customer{n}@berth.travel", None)
    wait_for(lambda: place.valkey.llen(BOOKING.jobs) == 0, "the end of the backlog")
    return orders
