"""One part of a search: what was fetched is not fetched again while Valkey comes and goes, and one
hotel costs no other.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import pytest

from errors import EngineAway, SupplierAway, SupplierDeclined
from suppliers.fetching import Fetcher, FetchPart
from suppliers.loader_pool import LoaderPool
from suppliers.rates import Board, FetchedChunk, Opened, Part, Rate, RateQuery, together
from tests.waiting import eventually

DAY = dt.date(2027, 3, 1)
HOTELS = ("lisbon-1", "lisbon-2", "lisbon-3")
# Has nothing to sell.
EMPTY = "lisbon-0"


def part(deadline_ms: int = 20_000, hotel_ids: tuple[str, ...] = HOTELS) -> FetchPart:
    query = RateQuery(destination="lisbon", check_in=DAY, check_out=DAY + dt.timedelta(2),
                      guests=2)
    return FetchPart(search_id="a" * 32, created_ms=0, deadline_ms=deadline_ms, supplier="acme",
                     query=query, part=Part(0, hotel_ids))


class Away:
    """Raises EngineAway the first `times` that it is asked."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self) -> None:
        self.times -= 1
        if self.times >= 0:
            raise EngineAway("Valkey is away")


class Acme:
    """A supplier that counts how often it is asked."""

    name = "acme"
    at_once_max = 3
    per_s_max = 0
    max_hotels_per_request = 2

    def __init__(self, scope: Literal["hotels", "hotel"]) -> None:
        self.scope = scope
        self.asked = 0
        self.opened: list[tuple[str, ...]] = []
        # Called with each hotel before its rates are given.
        self.before: Callable[[str], object] = lambda hotel_id: None

    def fetch(self, _: RateQuery, asked: Part) -> Iterator[FetchedChunk]:
        self.asked += 1
        for hotel_id in asked.hotel_ids:
            yield self._chunk(hotel_id)

    def open(self, _: RateQuery, hotel_ids: tuple[str, ...]) -> Opened:
        self.opened.append(hotel_ids)
        return Opened(hotel_ids, {one: one.upper() for one in hotel_ids if one != EMPTY})

    def fetch_hotel(self, _: RateQuery, hotel_id: str, ticket: str) -> FetchedChunk:
        assert ticket == hotel_id.upper()
        self.asked += 1
        self.before(hotel_id)
        return self._chunk(hotel_id)

    def _chunk(self, hotel_id: str) -> FetchedChunk:
        return FetchedChunk(hotel_id, (Rate(
            hotel_id=hotel_id, supplier="acme", room="Room", board=Board.UNKNOWN,
            price="1.00", currency="EUR", refundable=False, vendor_key=hotel_id),))

    def close(self) -> None:
        """Nothing is kept."""


class Entries:
    """What was appended, by name, each name once."""

    def __init__(self, away: Callable[[], None]) -> None:
        self.away = away
        self.chunks: list[str] = []
        self.together: list[list[str]] = []
        self.error: str | None = None

    def append_many(self, _: str, __: str, chunks: Sequence[tuple[str, Any]], **___: Any) -> None:
        self.away()
        self.together.append([name for name, _ in chunks])
        self.chunks += [name for name, _ in chunks if name not in self.chunks]

    def append(self, _: str, __: str, ___: str, ____: Any, *, error: str, **_____: Any) -> None:
        self.away()
        self.error = error


class Gate:
    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter, self._leave = enter, leave

    def call(self, _: Any, *, until_s: float) -> AbstractContextManager[None]:
        @contextmanager
        def held() -> Iterator[None]:
            self._enter()
            yield
            self._leave()

        return held()


class Play:
    def __init__(self, scope: Literal["hotels", "hotel"], *, append: int = 0, enter: int = 0,
                 leave: int = 0, clock: int = 0) -> None:
        self.supplier = Acme(scope)
        self.entries = Entries(Away(append))
        away = Away(clock)

        def now_ms() -> int:
            away()
            return 0

        stop = threading.Event()
        self.fetcher = Fetcher(
            {"acme": self.supplier}, self.entries,  # type: ignore[dict-item,arg-type]
            Gate(Away(enter), Away(leave)),  # type: ignore[arg-type]
            {"acme": LoaderPool(low=1, high=3, name="loader")}, attempts=2, stop=stop,
            now_ms=now_ms)

    def run(self, deadline_ms: int = 20_000, hotel_ids: tuple[str, ...] = HOTELS) -> None:
        try:
            self.fetcher.run(part(deadline_ms, hotel_ids))
        finally:
            self.fetcher.close()


@pytest.mark.parametrize("scope", ["hotels", "hotel"])
@pytest.mark.parametrize("away", ["append", "enter", "clock"])
def test_what_was_fetched_is_appended_when_valkey_is_back_and_nobody_asked_twice(
    scope: Literal["hotels", "hotel"], away: str
) -> None:
    play = Play(scope, **{away: 3})
    play.run()
    assert sorted(play.entries.chunks) == [f"acme:{hotel_id}" for hotel_id in HOTELS]
    assert play.entries.error == ""
    assert play.supplier.asked == (1 if scope == "hotels" else len(HOTELS))


@pytest.mark.parametrize("scope", ["hotels", "hotel"])
def test_a_place_that_could_not_be_given_back_costs_no_rate(
    scope: Literal["hotels", "hotel"]
) -> None:
    play = Play(scope, leave=1)
    play.run()
    assert len(play.entries.chunks) == len(HOTELS)
    assert play.entries.error == ""


@pytest.mark.parametrize("scope", ["hotels", "hotel"])
def test_without_valkey_a_part_ends_at_its_deadline(scope: Literal["hotels", "hotel"]) -> None:
    play = Play(scope, append=1_000_000)
    with pytest.raises(EngineAway):
        play.run(deadline_ms=700)


def test_a_supplier_that_fails_is_still_tried_as_often_as_ever() -> None:
    play = Play("hotels")
    failing = play.supplier

    def fetch(_: RateQuery, __: Part) -> Iterator[FetchedChunk]:
        failing.asked += 1
        raise SupplierAway("down")

    failing.fetch = fetch  # type: ignore[method-assign]
    play.run()
    assert (failing.asked, play.entries.error) == (2, "did not answer")


def test_hotels_of_one_answer_are_appended_together_and_no_answer_waits_for_the_next() -> None:
    play = Play("hotels")
    seen_before: list[int] = []

    def fetch(_: RateQuery, __: Part) -> Iterator[FetchedChunk]:
        for names in (("a", "b"), ("c",), ("d", "e")):
            seen_before.append(len(play.entries.chunks))
            yield from together([FetchedChunk(name, ()) for name in names])

    play.supplier.fetch = fetch  # type: ignore[method-assign]
    play.run()
    assert play.entries.together == [["acme:a", "acme:b"], ["acme:c"], ["acme:d", "acme:e"]]
    assert seen_before == [0, 2, 3], "what came is appended before the supplier is asked again"


# --- hotel by hotel -------------------------------------------------------------------------------


def test_hotels_are_opened_some_together_and_one_without_a_ticket_is_not_missing() -> None:
    play = Play("hotel")
    play.run(hotel_ids=(EMPTY, *HOTELS))
    assert sorted(play.supplier.opened) == [(EMPTY, "lisbon-1"), ("lisbon-2", "lisbon-3")]
    assert sorted(play.entries.chunks) == [f"acme:{hotel_id}" for hotel_id in HOTELS]
    assert play.entries.error == ""


def test_a_slow_hotel_holds_nobody_up_and_what_came_is_shown_meanwhile() -> None:
    play = Play("hotel")
    many = tuple(f"lisbon-{number}" for number in range(1, 31))
    go = threading.Event()
    play.supplier.before = lambda hotel_id: hotel_id != "lisbon-2" or go.wait(10)
    running = threading.Thread(target=play.run, kwargs={"hotel_ids": many})
    running.start()
    eventually(lambda: len(play.entries.chunks) == 29, 9, "all others are shown")
    assert "acme:lisbon-2" not in play.entries.chunks
    assert play.entries.error is None, "the part is not over"
    go.set()
    running.join(10)
    assert len(play.entries.chunks) == 30
    assert play.entries.error == ""


@pytest.mark.parametrize(("fault", "asked", "error"), [
    (SupplierAway("down"), 4, "1 of 3 hotels: did not answer"),
    (SupplierDeclined("not_found"), 3, ""),  # its own error, and a word that is believed
    (SupplierDeclined("unauthorized"), 3, "1 of 3 hotels: refused the request"),
])
def test_a_fault_of_one_hotel_costs_no_other(fault: Exception, asked: int, error: str) -> None:
    play = Play("hotel")

    def before(hotel_id: str) -> None:
        if hotel_id == "lisbon-2":
            raise fault

    play.supplier.before = before
    play.run()
    assert {"acme:lisbon-1", "acme:lisbon-3"} <= set(play.entries.chunks)
    assert (play.supplier.asked, play.entries.error) == (asked, error)


def test_what_cannot_be_opened_costs_its_own_hotels() -> None:
    play = Play("hotel")
    well = play.supplier.open

    def open_(query: RateQuery, hotel_ids: tuple[str, ...]) -> Opened:
        if "lisbon-1" in hotel_ids:
            raise SupplierDeclined("not_found")
        return well(query, hotel_ids)

    play.supplier.open = open_  # type: ignore[method-assign]
    play.run()
    assert play.entries.chunks == ["acme:lisbon-3"]
    assert play.entries.error == "2 of 3 hotels: refused the request"


def test_what_did_not_come_in_time_is_counted() -> None:
    play = Play("hotel")
    go = threading.Event()
    play.supplier.before = lambda hotel_id: hotel_id != "lisbon-2" or go.wait(10)
    play.run(deadline_ms=700)
    go.set()
    assert "acme:lisbon-2" not in play.entries.chunks
    assert play.entries.error == f"{3 - len(play.entries.chunks)} of 3 hotels took too long"
