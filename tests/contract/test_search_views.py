"""What a web process keeps of searches, on a real Valkey: never other than what a reader finds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from queues.keys import SEARCH
from search.entries import SearchEntries
from search.model import Entry, OfferedRate, without_vendor_key
from search.query import SearchQuery
from web import search_views
from web.search_views import SearchView, SearchViews

QUERY = SearchQuery("lisbon", dt.date(2027, 3, 1), dt.date(2027, 3, 4), 2)


def rate(number: int, price: str = "") -> OfferedRate:
    return OfferedRate(
        rate_id=f"{QUERY.search_id}-{number:016x}", hotel_id=f"lisbon-{number % 7}",
        supplier="fast", room="Double", price=price or f"{90 - number}.00", currency="EUR",
        refundable=True, vendor_key=f"secret-{number}")


class Road:
    """Entries that tell how much of a search was read."""

    def __init__(self, valkey: redis.Redis) -> None:
        self.entries = SearchEntries(valkey, SEARCH, deadline_s=30, life_s=60, max_waiting=100)
        self.brought: list[int] = []
        self.views = SearchViews(self)  # type: ignore[arg-type]
        self.chunks = 0

    def read(self, search_id: str, **what: Any) -> Entry | None:
        found = self.entries.read(search_id, **what)
        self.brought.append(len(found.stored) if found else -1)
        return found

    def begin(self) -> Entry:
        entry = self.entries.begin(QUERY)
        self.entries.plan(QUERY.search_id, {"fast": 1})
        return entry

    def append(self, *numbers: int, finished: bool = False) -> None:
        self.chunks += 1
        assert self.entries.append(QUERY.search_id, "fast", f"c{self.chunks}",
                                   [rate(number) for number in numbers], finished=finished)

    def view(self) -> SearchView:
        found = self.views.read(QUERY.search_id)
        assert found is not None
        return found[0]


@pytest.fixture
def road(valkey: redis.Redis) -> Road:
    return Road(valkey)


def told(view: SearchView) -> dict[str, Any]:
    """All that a view knows."""
    return {"entry": view.entry, "shown": view.shown, "amounts": view.amounts,
            "hotels": {name: (one.places, one.lowest) for name, one in view.hotels.items()}}


def test_only_what_is_new_comes_from_valkey_and_all_of_it_is_there(road: Road) -> None:
    assert road.views.read(QUERY.search_id) is None
    road.begin()
    for numbers in ((1, 2, 3), (), (8, 4), (5,)):
        road.append(*numbers)
        view = road.view()
        fresh = road.entries.read(QUERY.search_id)
        assert fresh is not None
        assert view.shown == [without_vendor_key(one) for one in fresh.stored]
        assert told(view) == told(SearchView(fresh))
    road.append(6, finished=True)
    assert road.view().entry.is_completed
    assert road.view() is view
    assert road.brought == [-1, 3, 0, 2, 1, 1, 0]
    assert [one.rate_id for one in view.rates("lisbon-1")] == [rate(1).rate_id, rate(8).rate_id]
    assert b"secret" not in b"".join(view.shown)


def test_readers_that_overtake_each_other_add_nothing_twice_and_take_nothing_back(
    road: Road,
) -> None:
    road.begin()
    road.append(1)
    view = road.view()
    first = road.entries.read(QUERY.search_id)
    assert first is not None
    since = {"since": view.entry.cursor, "known": view.entry.version}
    road.append(2)
    slow = road.entries.read(QUERY.search_id, **since)
    road.append(3)
    fast = road.entries.read(QUERY.search_id, **since)
    assert slow is not None
    assert fast is not None
    for late in (fast, slow, fast):
        view.grow(late)
        assert [one["rate_id"] for one in map(msgspec.json.decode, view.shown)] == [
            rate(number).rate_id for number in (1, 2, 3)]
        assert view.entry.version == fast.version
    # Whoever takes the slow one first has a part of what the fast one brings.
    other = SearchView(first)
    other.grow(slow)
    other.grow(fast)
    assert other.shown == view.shown


def test_a_search_that_began_anew_is_another_one(road: Road, valkey: redis.Redis) -> None:
    road.begin()
    road.append(1, 2, finished=True)
    old = road.view()
    valkey.delete(SEARCH.entry(QUERY.search_id))
    assert road.views.read(QUERY.search_id) is None
    began_ms = old.entry.created_ms
    while (began := road.begin().created_ms) == began_ms:
        valkey.delete(SEARCH.entry(QUERY.search_id))
    assert began > began_ms
    road.append(3)
    assert [one.rate_id for one in road.view().rates("lisbon-3")] == [rate(3).rate_id]
    assert len(road.view().shown) == 1


def test_what_is_made_of_a_version_is_made_once(road: Road) -> None:
    road.begin()
    road.append(1)
    made: list[int] = []

    def make(view: SearchView) -> Callable[[], bytes]:
        def answer() -> bytes:
            made.append(len(view.shown))
            return b"".join(view.shown)
        return answer

    for _ in range(2):
        view = road.view()
        assert view.made("answer", make(view)) == view.shown[0]
    assert made == [1]
    road.append(2)
    view = road.view()
    assert view.made("answer", make(view)) == b"".join(view.shown)
    assert view.made("another", lambda: b"other") == b"other"
    assert made == [1, 2]


def test_what_is_kept_is_bounded(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    road.begin()
    road.append(1, finished=True)
    view = road.view()
    monkeypatch.setattr(search_views, "MADE_MAX_BYTES", 100)
    for number in range(10):
        assert view.made(number, lambda: b"x" * 30) == b"x" * 30
    small = view.size
    assert small < SearchView(road.begin()).size + 101
    entries = {}
    views = SearchViews(road.entries, max_bytes=3 * small)
    for guests in range(1, 9):
        query = msgspec.structs.replace(QUERY, guests=guests)
        entries[guests] = road.entries.begin(query)
        road.entries.plan(query.search_id, {"fast": 1})
        road.entries.append(query.search_id, "fast", "one", [rate(1)])
        found = views.read(query.search_id)
        assert found is not None
        assert len(found[0].shown) == 1
    assert 0 < sum(one.size for one in views._views.values()) <= 3 * small
    assert entries[8].search_id in views._views, "the latest one stays"
    assert entries[1].search_id not in views._views
