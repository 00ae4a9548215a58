"""The vocabulary of rates, ids of hotels, pauses, and asking hotel by hotel."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import SupplierAway, SupplierDeclined, Throttled
from suppliers.http import pause_s, reference
from suppliers.one_by_one import FAULTS_MAX, one_by_one
from suppliers.places import cities, hotel, hotel_id_of, hotel_ids, number_of
from suppliers.places.make_cities import cities as made_cities
from suppliers.planning import HOTELS_PER_PART, parts_of
from suppliers.rates import (
    FetchedChunk,
    Opened,
    Part,
    RateQuery,
    Unreadable,
    currency,
    price,
)
from suppliers.registry import ADAPTERS
from tests.rate_suppliers import QUERY

SCHEMES = {
    "hotelbeds": hotel_ids.HOTELBEDS, "expedia_rapid": hotel_ids.EXPEDIA_RAPID,
    "duffel_stays": hotel_ids.DUFFEL_STAYS, "ascenda": hotel_ids.ASCENDA,
    "perhotel": hotel_ids.PERHOTEL,
}
HOTELS = [hotel_id for city in cities().values() for hotel_id in city.hotel_ids()]


@given(st.decimals(min_value="0.000001", max_value=10**9, places=6), st.sampled_from(
    ["EUR", "JPY", "KWD"]))
def test_a_price_keeps_its_value_and_its_currencys_decimals(amount: Decimal, code: str) -> None:
    text = price(amount, code)
    assert Decimal(text) == amount
    assert "E" not in text
    assert len(text.partition(".")[2]) >= {"EUR": 2, "JPY": 0, "KWD": 3}[code]


@pytest.mark.parametrize("code", ["", "eur", "EURO", "E1R", "\u00c9UR", "EU"])
def test_a_currency_is_three_letters(code: str) -> None:
    with pytest.raises(Unreadable):
        currency(code)


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_every_hotel_has_one_id_at_every_supplier_and_it_leads_back(name: str) -> None:
    scheme = SCHEMES[name]
    theirs = [scheme.theirs(hotel_id) for hotel_id in HOTELS]
    assert len(set(theirs)) == len(HOTELS)
    assert [scheme.ours(their_id or "") for their_id in theirs] == HOTELS
    for text in ("", "0", "-1", "lisbon-0", "lisbon-21", "lisbon-01", "x", "10000", "010001",
                 "+10001", "\u0661", "20010000", "acc_0000HB0000010000", "07p1", "9" * 40):
        assert scheme.ours(text) is None
        assert scheme.theirs(text) is None


def test_the_table_of_ids_is_true() -> None:
    shown = [line.split("|")[2].split("`")[1] for line in (hotel_ids.__doc__ or "").splitlines()
             if line.startswith("| ") and "`" in line]
    assert shown == [scheme.theirs("lisbon-7") for scheme in SCHEMES.values()]


def test_numbers_lead_back_and_facts_stay() -> None:
    assert [hotel_id_of(number_of(hotel_id) or 0) for hotel_id in HOTELS] == HOTELS
    assert hotel_id_of(-5) is None
    first = hotel("lisbon-7")
    assert first is not None
    assert (first.name, first.stars) == ("Blue Plaza Lisbon", 4)
    assert abs(first.latitude - first.city.latitude) < 0.05


def test_no_two_hotels_of_a_city_share_a_name() -> None:
    """Two lines of one list with one name look like one hotel twice."""
    for city in cities().values():
        names = [found.name for hotel_id in city.hotel_ids()
                 if (found := hotel(hotel_id)) is not None]
        assert len(set(names)) == len(names) == city.hotels, city.slug


def test_the_file_of_cities_is_what_its_tool_makes() -> None:
    made = {city["slug"]: city for city in made_cities()}
    assert list(made) == list(cities())
    for slug, city in cities().items():
        assert {name: getattr(city, name) for name in made[slug]} == made[slug]
    assert len(made) >= 50


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_parts_hold_every_hotel_once_and_no_more_than_allowed(name: str) -> None:
    query = RateQuery(destination="london", check_in=QUERY.check_in, check_out=QUERY.check_out,
                      guests=1)
    parts = parts_of(ADAPTERS[name], query)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [one for part in parts for one in part.hotel_ids] == list(cities()["london"].hotel_ids())
    most = HOTELS_PER_PART if ADAPTERS[name].scope == "hotel" else \
        ADAPTERS[name].max_hotels_per_request
    assert max(len(part.hotel_ids) for part in parts) <= most
    assert name == ADAPTERS[name].name


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"Retry-After": "7"}, 7.0), ({"Retry-After": "0"}, 0.0), ({"Retry-After": "9" * 9}, 86_400.0),
    ({"Retry-After": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0), ({"Retry-After": "soon"}, None),
    ({"Retry-After": "-1"}, None), ({"Retry-After": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
    ({}, None),
    ({"Rate-Limit-Minute-Remaining": "0", "Rate-Limit-Minute-Reset": "1012000"}, 12.0),
    ({"Rate-Limit-Minute-Remaining": "9", "Rate-Limit-Minute-Reset": "1012000"}, None),
    ({"Rate-Limit-Day-Remaining": "0", "Rate-Limit-Day-Reset": "1099000"}, 99.0),
    ({"RateLimit-Reset": "Thu, 01 Jan 1970 00:17:00 GMT"}, 20.0), ({"RateLimit-Reset": "?"}, None),
])  # fmt: skip
def test_the_pause_that_a_supplier_wants(headers: dict[str, str], seconds: float | None) -> None:
    assert pause_s(headers, 1_000.0) == seconds


def test_a_reference_fits_and_is_always_the_same() -> None:
    ulid = "01JDXYZ0000000000000000000"
    assert reference(ulid, 28) == ulid
    short = reference(ulid, 20)
    assert len(short) == 20
    assert short == reference(ulid, 20) != reference(ulid[:-1] + "1", 20)
    assert len(reference("with space", 40)) == 20


class Acme:
    """A supplier whose hotels raise what they are told to."""

    name = "acme"
    max_hotels_per_request = 4

    def __init__(self, faults: dict[str, Exception]) -> None:
        self.faults = faults

    def open(self, _: RateQuery, hotel_ids: tuple[str, ...]) -> Opened:
        assert len(hotel_ids) <= self.max_hotels_per_request
        return Opened(hotel_ids, {one: f"t-{one}" for one in hotel_ids})

    def fetch_hotel(self, _: RateQuery, hotel_id: str, ticket: str) -> FetchedChunk:
        assert ticket == f"t-{hotel_id}"
        if hotel_id in self.faults:
            raise self.faults[hotel_id]
        return FetchedChunk(hotel_id, ())


def run(faults: dict[str, Exception]) -> tuple[list[str], Exception | None]:
    seen: list[str] = []
    acme: Any = Acme(faults)
    try:
        for chunk in one_by_one(acme, QUERY, Part(0, tuple("abcdef"))):
            seen.append(chunk.name + "!" * len(chunk.errors))
    except (SupplierAway, SupplierDeclined) as error:
        return seen, error
    return seen, None


def test_one_hotels_fault_is_raised_after_the_others_were_tried() -> None:
    away = SupplierAway("a")
    assert run({"b": away}) == (["a", "c", "d", "e", "f"], away)
    assert run({}) == (list("abcdef"), None)
    assert run({"b": SupplierDeclined("not_found")})[0][1] == "b!"


def test_a_supplier_that_is_down_is_left_alone() -> None:
    faults: dict[str, Exception] = {one: SupplierAway(one) for one in "abcdef"[:FAULTS_MAX]}
    assert run(faults) == ([], faults["a"])
    throttled, wrong = Throttled("t", 3.0), SupplierDeclined("unauthorized")
    assert run({"b": throttled}) == (["a"], throttled)
    assert run({"b": wrong}) == (["a"], wrong)
