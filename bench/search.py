"""Live rates: how much Berth adds to what its suppliers take, beside doing it without a queue.

The simulated suppliers answer after fixed times, so what is above them is ours: queue, planning,
RQ, tokens, parsing, appending. Times are read from the search entries, by Valkey's clock. Then
what a visitor waits for when suppliers are asked one after the other, or by a thread each in the
web process; a thousand hotels at a supplier that answers one at a time, and at one that has a step
before that; a hundred searches at once with a supplier that takes 12 s; a search that is repeated,
and one of a thousand hotels that is shown whole; and what a flood of searches does to the booking
road: from the door's answer to the decision that a second process reads.

What the fastest supplier takes beyond the time that it is told to take is reported too, by its own
clock: it is a part of what stands as ours.
"""

from __future__ import annotations

import datetime as dt
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests

import bootstrap
from bench import latency, shown
from bench.machine import machine
from bench.peers.in_process import a_thread_each, one_after_the_other, worst
from bench.world import BenchError, Child, Tell, World, percentile, wait_for, world
from embedded.ports import LOOPBACK, free_port
from queues.keys import BOOKING, SEARCH
from search.entries import SearchEntries
from search.model import Entry, SupplierState
from search.query import SearchQuery
from suppliers.fetching import query_of
from suppliers.places import cities

# What each supplier takes, in milliseconds. Duffel's steps are timed apart.
TAKES_MS = {"expedia_rapid": 300, "hotelbeds": 500, "perhotel": 400, "ascenda": 2_000}
SLOW_MS = 12_000
PER_HOTEL_MS = 100
PER_HOTEL_AT_ONCE = 50
STEPS_AT_ONCE = 60
HOTELS = 1_000
NEW_PER_S = 5
FLOOD_PER_S = 20
ORDERS_PER_S = 100
DAY = dt.timedelta(days=1)

Report = dict[str, Any]


class Road:
    """The search road of this bench, and its suppliers."""

    def __init__(self, place: World, url: str) -> None:
        self.client = bootstrap.connect_search_valkey(place.settings)
        self.entries: SearchEntries = bootstrap.search_entries(place.settings, self.client)
        self.url = url
        self._first_day = dt.datetime.now(dt.UTC).date() + 20 * DAY
        self._searches = 0

    def conduct(self, **takes_ms: int) -> None:
        """Let each of these suppliers take exactly so long, and hold no offer back."""
        vendors = {
            name: {"latency_ms_min": ms, "latency_ms_max": ms, "sold_out_rate": 0.0,
                   "at_once_max": 0}
            for name, ms in takes_ms.items()
        }
        requests.patch(f"{self.url}/api/simulator/settings", json={"vendors": vendors},
                       timeout=10).raise_for_status()

    def calls(self) -> int:
        """How many calls all suppliers had."""
        found = requests.get(f"{self.url}/api/simulator/calls", timeout=10).json()
        return sum(sum(one["calls"].values()) for one in found.values())

    def late_ms(self, supplier: str) -> list[float]:
        """How much longer each of its latest calls took than it was told to, by its own clock."""
        found = requests.get(f"{self.url}/api/simulator/calls", timeout=10).json()
        late: list[float] = found[supplier]["late_ms"]
        return late

    def fresh(self, city: str | None = None) -> SearchQuery:
        """A search that nobody has made yet; small cities take turns."""
        self._searches += 1
        number = self._searches
        small = [one.slug for one in cities().values() if one.hotels == 20]
        check_in = self._first_day + (number if city else number // len(small)) * DAY
        return SearchQuery(city or small[number % len(small)], check_in, check_in + 2 * DAY,
                           1 + number % 4)

    def begin(self, query: SearchQuery) -> None:
        self.entries.begin(query)

    def completed(self, query: SearchQuery) -> Entry:
        """The search once it is over. Raises BenchError when a supplier failed."""
        found: list[Entry] = []

        def over() -> bool:
            entry = self.entries.read(query.search_id)
            if entry is None or not entry.is_completed:
                return False
            found.append(entry)
            return True

        wait_for(over, "the end of a search", poll_s=0.05)
        entry = found[-1]
        failed = {name: one.error or one.state.value for name, one in entry.suppliers.items()
                  if one.state is not SupplierState.DONE}
        if failed:
            raise BenchError(f"suppliers failed, so there is nothing to measure: {failed}")
        return entry


def run(seconds: int, tell: Tell) -> Report:
    """`seconds` of new searches, and of each half of the flood. Raises BenchError."""
    report: Report = {"seconds": seconds, "new_per_s": NEW_PER_S}
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    with world(SIMULATOR_PORT=str(port), SIMULATOR_URL=url, SEARCH_DEADLINE_S="60",
               SEARCHES_PER_MINUTE="100000", SEARCHES_MAX_WAITING="10000", RATE_POLL_MS="50",
               ) as place, \
            place.child("-m", "suppliers.simulator") as simulator:
        wait_for(lambda: shown.answers(f"{url}/healthz"), "the simulator", simulator)
        road = Road(place, url)
        road.conduct(**TAKES_MS, duffel_stays=PER_HOTEL_MS)
        with consumers(place, TAKES_MS):
            tell(f"{NEW_PER_S} new searches/s for {seconds} s")
            report |= _steady(road, seconds)
            tell("the same without a queue")
            report |= _in_process(place, road)
            tell("a search that is repeated, and one of a thousand hotels")
            with shown.door(place) as ask:
                report |= shown.repeated(road, ask)
                report |= shown.big(road, ask)
        with consumers(place, ["perhotel"]):
            tell(f"{HOTELS} hotels, {PER_HOTEL_MS} ms each, {PER_HOTEL_AT_ONCE} at once")
            road.conduct(perhotel=PER_HOTEL_MS)
            report |= _per_hotel(road)
        with consumers(place, ["duffel_stays"]):
            tell(f"{HOTELS} hotels after a first step, {PER_HOTEL_MS} ms each, {STEPS_AT_ONCE} at "
                 "once; then 20 hotels")
            report |= _steps(road)
        with consumers(place, ["expedia_rapid", "ascenda"]) as workers:
            tell(f"100 searches at once, one supplier takes {SLOW_MS / 1_000:.0f} s")
            road.conduct(expedia_rapid=TAKES_MS["expedia_rapid"], ascenda=SLOW_MS)
            report |= _at_once(road, workers)
        with consumers(place, ["expedia_rapid", "hotelbeds"]):
            tell(f"the booking road beside {FLOOD_PER_S} searches/s")
            road.conduct(expedia_rapid=TAKES_MS["expedia_rapid"])
            report |= _flood(place, road, seconds)
        report["machine"] = machine(place)
    return report


@contextmanager
def consumers(place: World, suppliers: Sequence[str] | Mapping[str, int]) -> Iterator[Child]:
    """The search consumer and a fetch worker, for these suppliers; yields the worker."""
    changes = {"RATE_SUPPLIERS": ",".join(suppliers)}
    with place.child("-m", "consumer", "search", changes=changes), \
            place.child("-m", "consumer", "fetch", changes=changes) as worker:
        client = bootstrap.connect_search_valkey(place.settings)
        wait_for(lambda: client.exists(SEARCH.lease) == 1, "the search consumer")
        wait_for(lambda: client.zcard(SEARCH.workers) >= 1, "the fetch worker", worker)
        try:
            yield worker
        finally:
            client.close()
            # Another bench's workers and lease must not be taken for this one's.
            bootstrap.connect_search_valkey(place.settings).delete(
                SEARCH.workers, SEARCH.lease)


def _steady(road: Road, seconds: int) -> Report:
    warm = road.fresh()
    road.begin(warm)
    road.completed(warm)
    queries = []
    begun_s = time.perf_counter()
    for number in range(NEW_PER_S * seconds):
        time.sleep(max(0.0, begun_s + number / NEW_PER_S - time.perf_counter()))
        queries.append(road.fresh())
        road.begin(queries[-1])
    first, complete = [], []
    fastest, slowest = min(TAKES_MS.values()), max(TAKES_MS.values())
    for query in queries:
        waits = [one.latency_ms or 0 for one in road.completed(query).suppliers.values()]
        first.append(float(min(waits) - fastest))
        complete.append(float(max(waits) - slowest))
    late = road.late_ms(min(TAKES_MS, key=TAKES_MS.__getitem__))
    return {
        "searches": len(queries),
        "fastest_supplier_late_ms_p50": round(percentile(late, 0.5), 1),
        "fastest_supplier_late_ms_p99": round(percentile(late, 0.99), 1),
        "first_rates_overhead_ms_p50": round(percentile(first, 0.5), 1),
        "first_rates_overhead_ms_p99": round(percentile(first, 0.99), 1),
        "complete_overhead_ms_p50": round(percentile(complete, 0.5), 1),
        "complete_overhead_ms_p99": round(percentile(complete, 0.99), 1),
    }


def _in_process(place: World, road: Road) -> Report:
    stop = threading.Event()
    suppliers = bootstrap.rate_suppliers(place.settings, road.client, stop, pool_size=8)
    chosen = {name: suppliers[name] for name in TAKES_MS}
    report: Report = {}
    for name, ask in (("sequential", one_after_the_other), ("threads", a_thread_each)):
        waits = []
        for _ in range(3):
            query = road.fresh()
            waits.append(ask(query_of(query.destination, query.check_in, query.check_out,
                                      query.guests, "EUR", ()), chosen))
        found = worst(waits)
        report[f"{name}_first_ms"] = round(found.first_ms, 1)
        report[f"{name}_complete_ms"] = round(found.complete_ms, 1)
    for one in suppliers.values():
        one.close()
    query = road.fresh()
    road.begin(query)
    waited = [one.latency_ms or 0 for one in road.completed(query).suppliers.values()]
    return report | {"berth_first_ms": float(min(waited)), "berth_complete_ms": float(max(waited))}


def _per_hotel(road: Road) -> Report:
    ideal_s = HOTELS * PER_HOTEL_MS / 1e3 / PER_HOTEL_AT_ONCE
    middle = _alone_s(road, "perhotel", "london")
    return {"per_hotel_s": round(middle, 2), "per_hotel_ideal_s": ideal_s,
            "per_hotel_ideal_ratio": round(ideal_s / middle, 3)}


def _steps(road: Road) -> Report:
    """Searches for some hotels at a time, all of them at once; then a call for each hotel."""
    ideal_s = (1 + HOTELS / STEPS_AT_ONCE) * PER_HOTEL_MS / 1e3
    middle, small = _alone_s(road, "duffel_stays", "london"), _alone_s(road, "duffel_stays")
    return {"steps_s": round(middle, 2), "steps_ideal_s": round(ideal_s, 2),
            "steps_ideal_ratio": round(ideal_s / middle, 3),
            "steps_20_hotels_s": round(small, 2)}


def _alone_s(road: Road, supplier: str, city: str | None = None) -> float:
    """What a search of one supplier takes, the median of three."""
    took = []
    for _ in range(3):
        query = road.fresh(city)
        road.begin(query)
        took.append((road.completed(query).suppliers[supplier].latency_ms or 0) / 1e3)
    return statistics.median(took)


def _at_once(road: Road, workers: Child) -> Report:
    queries = [road.fresh() for _ in range(100)]
    for query in queries:
        road.begin(query)
    firsts, memory_mb = [], 0.0
    process = psutil.Process(workers.process.pid)
    for query in queries:
        entry = road.completed(query)
        firsts.append((entry.suppliers["expedia_rapid"].latency_ms or 0) / 1e3)
        whole = [process, *process.children()]
        memory_mb = max(memory_mb, sum(one.memory_info().rss for one in whole) / 1_048_576)
    return {"at_once_first_rates_last_s": round(max(firsts), 2),
            "fetch_worker_mb": round(memory_mb, 1)}


def _flood(place: World, road: Road, seconds: int) -> Report:
    report: Report = {"orders_per_s": ORDERS_PER_S, "flood_per_s": FLOOD_PER_S}
    place.sell(20)
    with place.consumer("booking"):
        alone = latency.told_ms(place, ORDERS_PER_S, seconds)
        stop = threading.Event()

        def flood() -> None:
            while not stop.wait(1 / FLOOD_PER_S):
                road.begin(road.fresh())

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            # The orders before are forgotten; the consumer takes its lease, and tells the shelf.
            place.sell(20)
            wait_for(lambda: place.valkey.exists(BOOKING.lease, BOOKING.packages) == 2,
                     "the shelf")
            beside = latency.told_ms(place, ORDERS_PER_S, seconds)
        finally:
            stop.set()
            thread.join()
    for name, waits in (("alone", alone), ("flood", beside)):
        report[f"booking_{name}_p50_ms"] = round(percentile(waits, 0.5), 2)
        report[f"booking_{name}_p99_ms"] = round(percentile(waits, 0.99), 2)
    report["booking_flood_ratio"] = round(percentile(beside, 0.99) / percentile(alone, 0.99), 2)
    return report

