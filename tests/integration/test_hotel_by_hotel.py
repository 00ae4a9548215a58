"""Suppliers whose rates come hotel by hotel: many hotels at once, and never too many."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import redis
import requests

import bootstrap
from search.entries import SearchEntries
from search.model import Entry, SupplierState
from search.query import SearchQuery
from settings import Settings
from suppliers.fetching import Fetcher, FetchPart, query_of
from suppliers.planning import plan
from suppliers.rates import FetchedChunk, HotelByHotel, RateQuery
from suppliers.registry import ADAPTERS
from tests.simulator_fixtures import SimulatorProcess, running_simulator
from tests.waiting import eventually

BY_HOTEL = sorted(name for name, one in ADAPTERS.items() if one.scope == "hotel")


class Road:
    """Fetch workers' own work, without RQ, on the simulator and a real Valkey."""

    def __init__(self, settings: Settings, client: redis.Redis, outside: SimulatorProcess) -> None:
        self._settings = msgspec.structs.replace(settings, simulator_url=outside.url)
        self._client = client
        self._outside = outside
        self.entries: SearchEntries = bootstrap.search_entries(settings, client)

    @contextmanager
    def worker(self, name: str) -> Iterator[Fetcher]:
        """One process of them."""
        stop = threading.Event()
        fetcher = bootstrap.fetcher(self._settings, self._client, stop, ADAPTERS, owner=name)
        try:
            yield fetcher
        finally:
            stop.set()
            fetcher.close()

    def conduct(self, supplier: str, **conduct: float) -> None:
        answer = self._outside.switch(vendors={supplier: conduct})
        assert answer.status_code == 200

    def part(self, supplier: str, city: str, hotels: int, guests: int = 2) -> FetchPart:
        """The one part of a search that has begun."""
        day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=40)
        chosen = tuple(f"{city}-{number}" for number in range(1, hotels + 1))
        query = SearchQuery(city, day, day + dt.timedelta(days=2), guests, chosen)
        entry = self.entries.begin(query)
        asked = query_of(city, query.check_in, query.check_out, guests, "EUR", chosen)
        [part] = plan(asked, [ADAPTERS[supplier]])[supplier]
        assert self.entries.plan(query.search_id, {supplier: 1})
        return FetchPart(search_id=query.search_id, created_ms=entry.created_ms,
                         deadline_ms=entry.deadline_ms, supplier=supplier, query=asked, part=part)

    def read(self, part: FetchPart) -> Entry:
        entry = self.entries.read(part.search_id)
        assert entry is not None
        return entry

    def hotels(self, part: FetchPart) -> set[str]:
        """Those that have rates."""
        return {rate.hotel_id for rate in self.read(part).rates}

    def peak(self, supplier: str) -> int:
        """Most calls that it had at once."""
        found = requests.get(f"{self._outside.url}/api/simulator/calls", timeout=10).json()
        return int(found[supplier]["at_once_peak"])


@pytest.fixture
def road(settings: Settings, tmp_path: Path) -> Iterator[Road]:
    with running_simulator(tmp_path) as outside, \
            bootstrap.connect_search_valkey(settings, connections=300) as client:
        yield Road(settings, client, outside)


@pytest.mark.parametrize("name", BY_HOTEL)
def test_a_supplier_has_never_more_calls_at_once_than_it_takes(road: Road, name: str) -> None:
    """Two workers, and more hotels than one of them may ask for at once."""
    at_once_max = ADAPTERS[name].at_once_max
    road.conduct(name, latency_ms_min=300, latency_ms_max=300, at_once_max=0, sold_out_rate=0)
    parts = [road.part(name, "tokyo", 150, guests) for guests in (1, 2)]
    with road.worker("one") as one, road.worker("two") as two, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda work: work[0].run(work[1]), zip((one, two), parts, strict=True)))
    for part in parts:
        assert road.read(part).suppliers[name].state is SupplierState.DONE
        assert len(road.hotels(part)) == 150
    assert 2 < road.peak(name) <= at_once_max


@pytest.mark.parametrize("adapter", [ADAPTERS[name] for name in BY_HOTEL], ids=BY_HOTEL)
def test_a_slow_hotel_holds_nobody_up(
    road: Road, adapter: type[HotelByHotel], monkeypatch: pytest.MonkeyPatch
) -> None:
    go, plain = threading.Event(), adapter.fetch_hotel

    def fetch_hotel(self: HotelByHotel, query: RateQuery, hotel_id: str, ticket: str
                    ) -> FetchedChunk:
        if hotel_id == "lisbon-2":
            go.wait(20)
        return plain(self, query, hotel_id, ticket)

    monkeypatch.setattr(adapter, "fetch_hotel", fetch_hotel)
    road.conduct(adapter.name, sold_out_rate=0)
    part = road.part(adapter.name, "lisbon", 20)
    with road.worker("one") as worker:
        running = threading.Thread(target=worker.run, args=(part,))
        running.start()
        eventually(lambda: len(road.hotels(part)) == 19, 15, "all others are shown")
        assert "lisbon-2" not in road.hotels(part)
        assert not road.read(part).is_completed
        go.set()
        running.join(15)
    assert len(road.hotels(part)) == 20
    assert road.read(part).is_completed
