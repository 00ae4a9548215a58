"""Ten times more orders than are taken, for a minute: what is refused, what it costs, what is left.

The consumer is slowed down to batches of one and stopped for most of the time, each time for
less than its lease, because the door alone cannot outrun it on two cores. The load is as many
orders over HTTP as are answered; beside it one more customer orders now and then, to see what a
refusal says. Afterwards the load stops, the consumer runs on as it can, the queue drains, and every
order that was accepted is looked for.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from bench.accept import DOOR, Server, server
from bench.load import check_installed
from bench.machine import machine
from bench.world import BenchError, Child, Tell, World, wait_for, world
from queues.keys import BOOKING

QUOTA = 100
BACKLOG_MAX_JOBS = 2_000
ACCEPTED = 202
WATCH_EVERY_S = 0.25
# The consumer is stopped and runs by turns; its lease is 2 s.
STOPPED_S, RUNNING_S = 0.6, 0.2

Report = dict[str, object]


class Watch:
    """Looks on while the load runs: memory, backlog, how fast the backlog is worked; and orders
    now and then, until one is refused.
    """

    def __init__(self, place: World, door: Server) -> None:
        self._place = place
        self._door = door
        self.refusal: requests.Response | None = None
        self.accepted = 0
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
            if self.refusal is None:
                answer = self._door.order()
                if answer.status_code == ACCEPTED:
                    self.accepted += 1
                else:
                    self.refusal = answer


@contextmanager
def slowed(consumer: Child) -> Iterator[None]:
    """The consumer, stopped most of the time; at the end it runs."""
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.wait(RUNNING_S):
            consumer.process.send_signal(signal.SIGSTOP)
            over.wait(STOPPED_S)
            consumer.process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def applied(place: World) -> int:
    """How many jobs were told so far."""
    return int(place.valkey.hget(BOOKING.counters, "applied") or 0)


def run(seconds: int, tell: Tell) -> Report:
    """`seconds` of overload, then the count. Raises BenchError when anything was lost."""
    check_installed()
    bounds = {"BATCH_MAX": "1", "BACKLOG_MAX_JOBS": str(BACKLOG_MAX_JOBS)}
    with world(**bounds) as place:
        place.sell(QUOTA)
        with place.consumer("booking") as consumer, server(place, DOOR) as door:
            tell(f"overload for {seconds} s")
            with slowed(consumer), Watch(place, door) as watch:
                seen = door.flood(seconds)
            tell("the load has stopped; the queue drains")
            begun_s = time.perf_counter()
            wait_for(lambda: place.valkey.llen(BOOKING.jobs) == 0, "the end of the backlog")
            drained_s = time.perf_counter() - begun_s
            accepted = int(place.valkey.hget(BOOKING.counters, "pushed") or 0)
            wait_for(lambda: applied(place) == accepted, "the last batch")
        found = place.database.orders.count_documents({})
        live = place.database.orders.count_documents({"unit": {"$exists": True}})
        about = machine(place)
    if watch.refusal is None:
        raise BenchError("nothing was refused: that was no overload")
    told = seen.answered - seen.refused + watch.accepted
    # What was under way when the load ended came, but its answer was not counted.
    if found != accepted or not 0 <= accepted - told <= seen.connections:
        raise BenchError(f"{told} orders were answered with 202, {accepted} were accepted, "
                         f"{found} were decided")
    return {
        "seconds": seconds,
        "offered_per_s": round(seen.per_s, 1), "taken_per_s": round(watch.taken_per_s, 1),
        "times_over": round(seen.per_s / watch.taken_per_s, 1),
        "accepted": accepted, "refused": seen.refused, "broken": seen.broken,
        "refusal_status": watch.refusal.status_code,
        "retry_after": watch.refusal.headers.get("Retry-After", ""),
        "backlog_max": max(watch.backlog), "backlog_bound": BACKLOG_MAX_JOBS,
        "valkey_mb_max": round(max(watch.memory_mb), 1), "p99_ms": seen.p99_ms,
        "drained_s": round(drained_s, 1), "decided": found, "lost": accepted - found,
        "live": live, "quota": QUOTA, "machine": about,
    }

