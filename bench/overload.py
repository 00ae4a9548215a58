"""Ten times more orders than are taken, for a minute: what is refused, what it costs, what is left.

The consumer is slowed down to batches of one, because the door alone cannot outrun it on two
cores. The load is as many orders over HTTP as are answered. Afterwards the load stops, the queue
drains, and every order that was accepted is looked for.
"""

from __future__ import annotations

import threading
import time

from bench.accept import DOOR, server
from bench.load import check_installed
from bench.machine import machine
from bench.world import BenchError, Tell, World, wait_for, world
from queues.keys import BOOKING

QUOTA = 100
BACKLOG_MAX_JOBS = 5_000
WATCH_EVERY_S = 0.25

Report = dict[str, object]


class Watch:
    """Looks at Valkey while the load runs: memory, backlog, and how fast the backlog is worked."""

    def __init__(self, place: World) -> None:
        self._place = place
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.memory_mb: list[float] = []
        self.backlog: list[int] = []
        self._begun = (time.perf_counter(), applied(place))
        self._ended = self._begun

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def taken_per_s(self) -> float:
        """Jobs that the consumer applied, per second."""
        return (self._ended[1] - self._begun[1]) / (self._ended[0] - self._begun[0])

    def _run(self) -> None:
        while not self._stop.wait(WATCH_EVERY_S):
            memory = self._place.valkey.info("memory")
            self.memory_mb.append(memory["used_memory"] / 1_048_576)
            self.backlog.append(self._place.valkey.llen(BOOKING.jobs))
            self._ended = (time.perf_counter(), applied(self._place))


def applied(place: World) -> int:
    """How many jobs were told so far."""
    return int(place.valkey.hget(BOOKING.counters, "applied") or 0)


def run(seconds: int, tell: Tell) -> Report:
    """`seconds` of overload, then the count. Raises BenchError when anything was lost."""
    check_installed()
    bounds = {"BATCH_MAX": "1", "BACKLOG_MAX_JOBS": str(BACKLOG_MAX_JOBS)}
    with world(**bounds) as place:
        place.sell(QUOTA)
        with place.consumer("booking"), server(place, DOOR) as door:
            tell(f"overload for {seconds} s")
            with Watch(place) as watch:
                seen = door.flood(seconds)
                refusal = door.order()
            tell("the load has stopped; the queue drains")
            begun_s = time.perf_counter()
            wait_for(lambda: place.valkey.llen(BOOKING.jobs) == 0, "the end of the backlog")
            drained_s = time.perf_counter() - begun_s
            accepted = int(place.valkey.hget(BOOKING.counters, "pushed") or 0)
            wait_for(lambda: applied(place) == accepted, "the last batch")
        found = place.database.orders.count_documents({})
        live = place.database.orders.count_documents({"unit": {"$exists": True}})
        about = machine(place)
    told = seen.answered - seen.refused + (refusal.status_code == 202)
    # What was under way when the load ended came, but its answer was not counted.
    if found != accepted or not 0 <= accepted - told <= seen.connections:
        raise BenchError(f"{told} orders were answered with 202, {accepted} were accepted, "
                         f"{found} were decided")
    return {
        "seconds": seconds,
        "offered_per_s": round(seen.per_s, 1), "taken_per_s": round(watch.taken_per_s, 1),
        "times_over": round(seen.per_s / watch.taken_per_s, 1),
        "accepted": accepted, "refused": seen.refused, "broken": seen.broken,
        "refusal_status": refusal.status_code,
        "retry_after": refusal.headers.get("Retry-After", ""),
        "backlog_max": max(watch.backlog), "backlog_bound": BACKLOG_MAX_JOBS,
        "valkey_mb_max": round(max(watch.memory_mb), 1), "p99_ms": seen.p99_ms,
        "drained_s": round(drained_s, 1), "decided": found, "lost": accepted - found,
        "live": live, "quota": QUOTA, "machine": about,
    }

