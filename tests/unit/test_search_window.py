"""What the search page says: groups, orders and words."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from search.model import Entry, OfferedRate, SupplierProgress, SupplierState
from search.places import Destinations, HotelFacts, Place
from web import search_window
from web.search_views import SearchView
from web.search_window import Section


def rate(hotel_id: str, price: str, currency: str = "EUR") -> OfferedRate:
    return OfferedRate(rate_id=f"{hotel_id}-{price}", hotel_id=hotel_id, supplier="ascenda",
                       room="Double", price=price, currency=currency, refundable=False)


def view_of(*rates: OfferedRate) -> SearchView:
    """A completed search that has brought these."""
    return SearchView(Entry(
        search_id="a" * 32, is_completed=True, created_ms=1, deadline_ms=2, expires_ms=3,
        revision=1, count=len(rates), suppliers={},
        stored=[msgspec.json.encode(one) for one in rates]))


def sections(*rates: OfferedRate, order: str = "price", shown_max: int = 40
             ) -> tuple[int, list[Section]]:
    view = view_of(*rates)
    return len(view.hotels), search_window.sections(
        view, lambda one: HotelFacts(name=one.upper(), stars=3), order=order, currency="EUR",
        shown_max=shown_max)


def told(found: list[Section]) -> list[tuple[str, list[tuple[str, str, int]]]]:
    return [(section.title, [(card.hotel_id, card.best.price, len(card.others))
                             for card in section.cards]) for section in found]


def test_a_hotel_stands_once_with_its_cheapest_rate() -> None:
    count, found = sections(rate("a", "20.00"), rate("b", "15.00"), rate("a", "9.90"),
                            order="arrival")
    assert count == 2
    assert told(found) == [("", [("a", "€9.90", 1), ("b", "€15", 0)])]


def test_by_price_amounts_are_compared_as_numbers() -> None:
    _, found = sections(rate("a", "100.00"), rate("b", "99.50"), rate("c", "1000.00"))
    assert told(found) == [("", [("b", "€99.50", 0), ("a", "€100", 0), ("c", "€1,000", 0)])]


def test_currencies_are_never_compared() -> None:
    _, found = sections(rate("a", "5.00", "GBP"), rate("b", "900.00"), rate("a", "950.00"),
                        rate("c", "1.00", "JPY"))
    assert told(found) == [
        ("Prices in euros", [("b", "€900", 0), ("a", "€950", 1)]),
        ("Prices in Japanese yen", [("c", "JP¥1", 0)]),
    ]


def test_what_is_not_shown_is_counted() -> None:
    count, found = sections(*(rate(f"h{n}", f"{n}.00") for n in range(1, 11)), shown_max=3)
    assert count == 10
    assert [card.hotel_id for card in found[0].cards] == ["h1", "h2", "h3"]


@pytest.mark.parametrize(("state", "rates", "latency_ms", "error", "text"), [
    (SupplierState.PENDING, 0, None, None, "being asked"),
    (SupplierState.PENDING, 1, 90, None, "1 rate so far"),
    (SupplierState.DONE, 1_200, 940, None, "1,200 rates in 0.9 s"),
    (SupplierState.DONE, 0, 940, None, "nothing free in 0.9 s"),
    (SupplierState.DONE, 3, 2_000, "HTTP 500", "3 rates in 2.0 s, not all hotels"),
    (SupplierState.FAILED, 0, 2_000, "HTTP 500", "could not answer this time"),
    (SupplierState.TIMED_OUT, 0, None, None, "too slow this time"),
    (SupplierState.TIMED_OUT, 4, 2_000, None, "4 rates, then too slow"),
])
def test_a_supplier_is_told_in_plain_words(
    state: SupplierState, rates: int, latency_ms: int | None, error: str | None, text: str
) -> None:
    line = SupplierProgress(state=state, parts=1, parts_done=0, rates=rates,
                            latency_ms=latency_ms, error=error)
    row = search_window.supplier_rows({"expedia_rapid": line}, ())[0]
    assert (row.name, row.text) == ("Expedia Rapid", text)


def test_a_number_stays_beside_what_it_counts() -> None:
    day = dt.date(2027, 3, 1)
    assert search_window.nights_text(day, day + dt.timedelta(1), 1) == "1\xa0night, 1\xa0guest"
    assert search_window.nights_text(day, day + dt.timedelta(3), 2) == "3\xa0nights, 2\xa0guests"


def test_a_rate_comes_from_somebody_whom_a_sentence_can_name() -> None:
    assert search_window.source_text("expedia_rapid") == "Expedia Rapid"
    assert search_window.source_text("perhotel") == "the hotel itself"


PLACES = Destinations(
    [Place(slug="sao-paulo", name="São Paulo", country="BR"),
     Place(slug="lisbon", name="Lisbon", country="PT")], lambda _: None)


@pytest.mark.parametrize(("text", "slug"), [
    ("São Paulo", "sao-paulo"), ("SAO PAULO", "sao-paulo"), ("sao-paulo", "sao-paulo"),
    (" lisbon ", "lisbon"), ("Lisbo", None), ("", None), ("lisbon-porto", None),
])
def test_a_place_is_found_as_people_write_it(text: str, slug: str | None) -> None:
    found = PLACES.find(text)
    assert (found.slug if found else None) == slug


def test_near_misses_are_suggested() -> None:
    assert [place.slug for place in PLACES.like("Lisbonn")] == ["lisbon"]
    assert PLACES.like("x" * 100_000) == []
