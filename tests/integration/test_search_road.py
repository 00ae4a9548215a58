"""A search from its beginning to its end, with real processes that are killed on the way."""

from __future__ import annotations

import datetime as dt
import threading
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import redis

import bootstrap
from consumer.fetch_queue import FetchQueue
from consumer.fetch_workers import FetchWorkersAlive
from consumer.search import SearchConsumer
from embedded import RunningEngines
from queues.keys import SEARCH
from queues.reliable import ReliableQueue
from search.entries import RunSearch
from search.model import Entry, SupplierState
from search.query import SearchQuery
from settings import Settings
from suppliers.registry import ADAPTERS
from tests.search_road import SearchRoad, search_road
from tests.traps import Killed, Trap, trap_calls
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("search road")


def test_all_suppliers_answer_and_a_repeated_search_asks_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    with search_road(settings, tmp_path) as road:
        query = road.search("lisbon")
        entry = road.completed(query)
        assert set(entry.suppliers) == set(ADAPTERS)
        assert {one.state for one in entry.suppliers.values()} == {SupplierState.DONE}
        assert entry.count == sum(one.rates for one in entry.suppliers.values()) > 200
        hotels = {rate.hotel_id for rate in entry.rates}
        assert all(one.startswith("lisbon-") for one in hotels)
        assert len(hotels) == 20
        pinned = road.entries.find_rate(entry.rates[0].rate_id)
        assert pinned is not None
        assert pinned.rate == entry.rates[0]
        calls = road.calls()
        again = road.entries.begin(query)
        assert again.stored == entry.stored, "the same prices in every view"
        assert road.calls() == calls
        # Hotel by hotel, within the vendor's bound.
        road.conduct(perhotel={"latency_ms_min": 20, "latency_ms_max": 20})
        few = road.completed(road.search("lisbon", hotel_ids=("lisbon-3", "lisbon-4")))
        assert {rate.hotel_id for rate in few.rates} == {"lisbon-3", "lisbon-4"}
        assert road.peak("perhotel") <= 50
        faults_and_recovery(road)


def faults_and_recovery(road: SearchRoad) -> None:
    """A vendor that is down costs its own rates; the others and the next searches go on."""
    road.conduct(hotelbeds={"fault_rate": 1.0}, expedia_rapid={"garbage_rate": 1.0})
    entry = road.completed(road.search("porto"))
    assert entry.suppliers["hotelbeds"].state is SupplierState.FAILED
    assert entry.suppliers["hotelbeds"].error == "did not answer"
    assert entry.suppliers["expedia_rapid"].state is SupplierState.FAILED
    assert entry.suppliers["perhotel"].state is SupplierState.DONE
    road.conduct(hotelbeds={"fault_rate": 0.0, "throttle_rate": 1.0, "retry_after_s": 1},
                 expedia_rapid={"garbage_rate": 0.0})
    entry = road.completed(road.search("madrid"))
    assert entry.suppliers["hotelbeds"].error == "asked us to wait"
    assert entry.suppliers["expedia_rapid"].state is SupplierState.DONE


def test_a_killed_fetch_worker_loses_no_part(settings: Settings, tmp_path: Path) -> None:
    with search_road(settings, tmp_path) as road:
        road.conduct(ascenda={"latency_ms_min": 2_500, "latency_ms_max": 2_500},
                     perhotel={"latency_ms_min": 150, "latency_ms_max": 150})
        query = road.search("lisbon")
        eventually(lambda: road.read(query).count > 50, 60, "it is in the middle of it")
        road.kill("fetch")
        assert unfinished(road.read(query)) >= {"ascenda", "perhotel"}
        road.start("fetch-2")
        entry = road.completed(query)
        assert {one.state for one in entry.suppliers.values()} == {SupplierState.DONE}
        assert len({rate.hotel_id for rate in entry.rates if rate.supplier == "perhotel"}) >= 18


def unfinished(entry: Entry) -> set[str]:
    """The suppliers of a search that have parts to do; none once it is over."""
    if entry.is_completed:
        return set()
    return {name for name, one in entry.suppliers.items() if one.state is SupplierState.PENDING}


def all_done(entry: Entry) -> bool:
    return {one.state for one in entry.suppliers.values()} == {SupplierState.DONE}


def test_kill_of_the_search_consumer_and_of_the_simulator_in_the_middle_of_searches(
    settings: Settings, tmp_path: Path
) -> None:
    short = msgspec.structs.replace(settings, search_deadline_s=8.0)
    with search_road(short, tmp_path, SEARCH_DEADLINE_S="8", BREAKER_OPEN_S="1") as road:
        slow = {"ascenda": {"latency_ms_min": 2_500, "latency_ms_max": 2_500},
                "perhotel": {"latency_ms_min": 400, "latency_ms_max": 400}}
        road.conduct(**slow)
        query = road.search("lisbon")
        eventually(lambda: road.read(query).count > 50, 60, "it is in the middle of it")
        road.kill("search")
        assert unfinished(road.read(query)) >= {"ascenda"}
        entry = road.completed(query)
        assert all_done(entry), "fetch workers need no consumer once all is planned"
        calls, lease = road.calls(), road.client.get(SEARCH.lease)
        road.start("search-2")
        eventually(lambda: road.client.get(SEARCH.lease) not in (None, lease), 30,
                   "the next consumer is there")
        second = road.search("porto")
        eventually(lambda: {"ascenda"} <= unfinished(road.read(second)) < set(ADAPTERS), 60,
                   "it is in the middle of it")
        assert road.read(query).stored == entry.stored
        assert road.calls()["ascenda"] > calls["ascenda"]
        before = road.read(second)
        road.simulator.kill()
        assert "ascenda" in unfinished(before)
        entry = road.completed(second, within_s=30)
        assert entry.stored[:before.count] == before.stored, "what came stays as it was"
        states = {name: one.state for name, one in entry.suppliers.items()}
        assert states["ascenda"] in {SupplierState.FAILED, SupplierState.TIMED_OUT}
        for name, one in entry.suppliers.items():
            assert one.state is SupplierState.DONE or name in unfinished(before)
            assert one.state is not SupplierState.FAILED or one.error
        road.simulator.start()
        guests = iter(range(1, 10))
        eventually(lambda: all_done(road.completed(road.search("madrid", next(guests)))), 60,
                   "suppliers that are back are asked again")


def test_valkey_that_goes_away_for_a_moment_costs_no_supplier(
    own_engines: RunningEngines, settings: Settings, tmp_path: Path
) -> None:
    """kill -9 of the Valkey of searches while suppliers answer: it comes back, and so do they."""
    own = msgspec.structs.replace(
        settings, redis_url=own_engines.redis_url, mongo_url=own_engines.mongo_url)
    # No worker is taken for dead meanwhile: each has to go on with what it has.
    with search_road(own, tmp_path, HEARTBEAT_MS="30000") as road:
        road.conduct(ascenda={"latency_ms_min": 1_500, "latency_ms_max": 1_500},
                     duffel_stays={"latency_ms_min": 400, "latency_ms_max": 400},
                     perhotel={"latency_ms_min": 300, "latency_ms_max": 300})
        query = road.search("lisbon")
        eventually(lambda: road.read(query).count > 20, 60, "it is in the middle of it")
        own_engines.valkey.kill()
        # What was asked before is answered meanwhile, and has nowhere to go.
        eventually(lambda: road.at_once() == 0, 20, "suppliers answer all the same")
        own_engines.valkey.start()
        own_engines.wait_ready()
        entry = road.completed(query)
        assert {name: one.error for name, one in entry.suppliers.items()} == dict.fromkeys(
            ADAPTERS)
        assert len({rate.hotel_id for rate in entry.rates if rate.supplier == "perhotel"}) >= 18


def test_without_fetch_workers_it_ends_at_its_deadline_and_says_who_is_missing(
    settings: Settings, tmp_path: Path
) -> None:
    short = msgspec.structs.replace(settings, search_deadline_s=4.0)
    with search_road(short, tmp_path, SEARCH_DEADLINE_S="4") as road:
        road.conduct(ascenda={"hang_rate": 1.0}, duffel_stays={"hang_rate": 1.0})
        entry = road.completed(road.search("lisbon"), within_s=20)
        states = {name: one.state.value for name, one in entry.suppliers.items()}
        # Its worker says how many hotels it has not heard of, unless that comes too late.
        assert states.pop("duffel_stays") in {"failed", "timed_out"}
        assert states == dict.fromkeys(set(ADAPTERS) - {"duffel_stays"}, "done") | {
            "ascenda": "timed_out"}
        # Killed in the middle, and nobody in its place.
        query = road.search("madrid")
        eventually(lambda: road.read(query).suppliers, 20, "it is planned")
        road.kill("fetch")
        before = road.read(query)
        entry = road.completed(query, within_s=20)
        assert entry.stored[:before.count] == before.stored, "what came stays as it was"
        missing = {name for name, one in entry.suppliers.items()
                   if one.state is SupplierState.TIMED_OUT}
        assert {"ascenda", "duffel_stays"} <= missing
        assert {one.state for name, one in entry.suppliers.items() if name not in missing} <= {
            SupplierState.DONE}
        road.start("fetch-2")
        road.simulator.kill()
        entry = road.completed(road.search("porto"), within_s=20)
        assert {one.state for one in entry.suppliers.values()} <= {
            SupplierState.FAILED, SupplierState.TIMED_OUT}
        assert entry.count == 0


def test_a_killed_search_consumer_plans_nothing_twice(
    settings: Settings, tmp_path: Path, valkey: redis.Redis
) -> None:
    with search_road(settings, tmp_path, start=("fetch",)) as road:
        query = road.search("lisbon")
        client = road.client
        fetches = FetchQueue(client, ADAPTERS)

        class Dying(FetchQueue):
            def enqueue(self, jobs: object, *, timeout_s: int) -> int:
                fetches.enqueue(jobs, timeout_s=timeout_s)  # type: ignore[arg-type]
                raise SystemExit  # killed before the batch is done

        def consumer(queue: FetchQueue, name: str) -> SearchConsumer:
            return SearchConsumer(
                ReliableQueue(client, SEARCH, lease_ms=5_000), road.entries, queue,
                FetchWorkersAlive(client, heartbeat_ms=1_000), list(ADAPTERS.values()),
                name=name, currency="EUR", deadline_s=30, stop=threading.Event(),
            )

        with pytest.raises(SystemExit):
            consumer(Dying(client, ADAPTERS), "first").step()
        entry = road.completed(query)
        calls = road.calls()
        client.delete(SEARCH.lease)
        consumer(fetches, "second").step()  # the job is delivered again
        # And once more while nothing of the search is done: the plan and the ids stay.
        client.lpush(SEARCH.jobs, msgspec.json.encode(RunSearch(query=query)))
        client.hset(SEARCH.entry(query.search_id), "is_completed", 0)
        successor = consumer(fetches, "third")
        client.delete(SEARCH.lease)
        successor.step()
        assert sum(fetches.waiting().values()) == 0
        client.hset(SEARCH.entry(query.search_id), "is_completed", 1)
        assert road.read(query).stored == entry.stored
        assert road.calls() == calls


def test_wherever_the_search_consumer_dies_each_part_waits_once(
    settings: Settings, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each of its calls in turn, or halfway, and followed by another."""
    monkeypatch.setattr("consumer.search.BEAT_S", 0.01)
    day = dt.date(2027, 3, 1)
    query = SearchQuery("lisbon", day, day + dt.timedelta(2), 2)
    with bootstrap.connect_search_valkey(settings) as client:
        def told(trap: Trap) -> dict[str, int]:
            client.flushdb()
            entries = bootstrap.search_entries(settings, client)
            entries.begin(query)
            for number in range(1, 4):
                queue = ReliableQueue(client, SEARCH, lease_ms=5_000)
                entries = bootstrap.search_entries(settings, client)
                fetches = FetchQueue(client, ADAPTERS)
                if number == 1:
                    trap_calls(trap, entries, "read", "plan")
                    trap_calls(trap, fetches, "_enqueue")
                    trap_calls(trap, queue, "take", "done")
                consumer = SearchConsumer(
                    queue, entries, fetches, FetchWorkersAlive(client, heartbeat_ms=1_000),
                    list(ADAPTERS.values()), name=str(number), currency="EUR", deadline_s=30,
                    stop=threading.Event(),
                )
                with suppress(Killed):
                    consumer.step()
                client.delete(SEARCH.lease)
            assert client.llen(SEARCH.jobs) == client.llen(SEARCH.inflight) == 0
            assert not client.exists(SEARCH.dead)
            entry = entries.read(query.search_id)
            assert entry is not None
            assert {name: one.parts for name, one in entry.suppliers.items()} == fetches.waiting()
            return fetches.waiting()

        watched = Trap()
        planned = told(watched)
        points = watched.points("half", "after")
        assert len(points) >= 6
        for point in points:
            trap = Trap(point)
            assert told(trap) == planned, point
            assert trap.sprung


def test_a_poison_job_is_buried_and_the_road_goes_on(
    settings: Settings, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.search.ENGINE_PAUSE_S", 0.0)
    monkeypatch.setattr("consumer.search.BEAT_S", 0.01)
    with bootstrap.connect_search_valkey(settings) as client:
        entries = bootstrap.search_entries(settings, client)
        fetches = FetchQueue(client, ADAPTERS)
        day = dt.date(2027, 3, 1)
        poison = SearchQuery("atlantis", day, day + dt.timedelta(2), 2)
        good = SearchQuery("lisbon", day, day + dt.timedelta(2), 2)
        entries.begin(poison)  # the door would have refused it
        entries.begin(good)
        consumer = SearchConsumer(
            ReliableQueue(client, SEARCH, lease_ms=5_000), entries, fetches,
            FetchWorkersAlive(client, heartbeat_ms=1_000), list(ADAPTERS.values()), name="one",
            currency="EUR", deadline_s=30, stop=threading.Event(),
        )
        for _ in range(20):
            consumer.step()
        assert client.llen(SEARCH.dead) == 1
        assert client.llen(SEARCH.inflight) == client.llen(SEARCH.jobs) == 0
        assert sum(fetches.waiting().values()) == 5, "the other search is planned"


def test_a_late_chunk_of_an_expired_search_is_none_of_its_successors(
    settings: Settings, valkey: redis.Redis
) -> None:
    with bootstrap.connect_search_valkey(settings) as client:
        entries = bootstrap.search_entries(settings, client)
        day = dt.date(2027, 3, 1)
        query = SearchQuery("lisbon", day, day + dt.timedelta(2), 2)
        before = entries.begin(query)
        client.delete(SEARCH.entry(query.search_id))  # it expired
        eventually(lambda: entries.begin(query).created_ms > before.created_ms or client.delete(
            SEARCH.entry(query.search_id)) < 0, 5, "a moment has passed")
        entries.plan(query.search_id, {"acme": 1})
        assert not entries.append(query.search_id, "acme", "1", (), finished=True,
                                  created_ms=before.created_ms)
        assert entries.append(query.search_id, "acme", "1", (), finished=True,
                              created_ms=entries.begin(query).created_ms)


def test_a_slow_supplier_keeps_no_other_waiting(settings: Settings, tmp_path: Path) -> None:
    wide = msgspec.structs.replace(settings, search_deadline_s=15.0)
    with search_road(wide, tmp_path, SEARCH_DEADLINE_S="15",
                     RATE_SUPPLIERS="ascenda,expedia_rapid") as road:
        road.conduct(ascenda={"latency_ms_min": 60_000, "latency_ms_max": 60_000})
        cities = list(bootstrap.destinations().places)[:25]
        queries = [road.search(city) for city in cities]

        def all_have_rates() -> bool:
            return all(road.read(query).suppliers.get("expedia_rapid") is not None
                       and road.read(query).suppliers["expedia_rapid"].state is SupplierState.DONE
                       for query in queries)

        # More searches than the slow supplier has workers: the quick one is done with all of them.
        eventually(all_have_rates, 15, "the quick supplier's rates are there")
        last = road.completed(queries[-1], within_s=40)
        assert last.suppliers["ascenda"].state is SupplierState.TIMED_OUT
