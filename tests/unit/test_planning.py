"""The plan of a search: which suppliers, how many parts; the same every time."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from consumer.fetch_queue import job_id
from errors import SettingsError
from settings import Settings
from suppliers.fetching import FetchPart, offered, rate_id
from suppliers.planning import plan
from suppliers.rates import Board, Part, Rate, RateQuery
from suppliers.registry import ADAPTERS, chosen

DAY = dt.date(2027, 3, 1)


def query(city: str, hotel_ids: tuple[str, ...] = ()) -> RateQuery:
    return RateQuery(destination=city, check_in=DAY, check_out=DAY + dt.timedelta(2), guests=2,
                     hotel_ids=hotel_ids)


def test_batches_are_as_large_as_each_supplier_takes_them() -> None:
    parts = plan(query("london"), ADAPTERS.values())
    counts = {name: len(some) for name, some in parts.items()}
    assert counts == {"hotelbeds": 4, "expedia_rapid": 4, "duffel_stays": 1, "ascenda": 1,
                      "perhotel": 1}
    for some in parts.values():
        hotels = [hotel_id for part in some for hotel_id in part.hotel_ids]
        assert len(hotels) == len(set(hotels)) == 1_000
        assert [part.number for part in some] == list(range(len(some)))


def test_some_hotels_alone() -> None:
    wanted = ("lisbon-1", "lisbon-2")
    for some in plan(query("lisbon", wanted), ADAPTERS.values()).values():
        assert [part.hotel_ids for part in some] == [wanted]


def test_a_part_has_the_same_id_whenever_it_is_planned() -> None:
    def ids(created_ms: int) -> list[str]:
        return [job_id(FetchPart(search_id="a" * 32, created_ms=created_ms, deadline_ms=0,
                                 supplier=name, query=query("lisbon"), part=part))
                for name, some in plan(query("lisbon"), ADAPTERS.values()).items()
                for part in some]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2)), "a search that began anew is another one"
    assert len(set(ids(1))) == len(ids(1))


def test_a_job_survives_its_way_as_json() -> None:
    job = FetchPart(search_id="a" * 32, created_ms=1, deadline_ms=2, supplier="perhotel",
                    query=query("lisbon", ("lisbon-1",)), part=Part(3, ("lisbon-1",)))
    assert msgspec.convert(msgspec.to_builtins(job), FetchPart) == job


def test_a_rate_has_one_id_and_any_difference_makes_another() -> None:
    rate = Rate(hotel_id="lisbon-1", supplier="perhotel", room="Double", board=Board.BREAKFAST,
                price="93.00", currency="EUR", refundable=True, vendor_key="{}")
    found = rate_id("a" * 32, rate)
    assert found == rate_id("a" * 32, rate)
    others = [rate_id("b" * 32, rate)] + [
        rate_id("a" * 32, msgspec.structs.replace(rate, **change)) for change in (
            {"price": "93.01"}, {"vendor_key": "x"}, {"board": Board.ROOM_ONLY},
            {"room": "Twin"}, {"hotel_id": "lisbon-2"}, {"supplier": "ascenda"},
            {"currency": "USD"})]
    assert len({found, *others}) == len(others) + 1
    assert offered("a" * 32, rate).rate_id == found


def test_an_unknown_supplier_is_refused_by_name() -> None:
    assert list(chosen(Settings(rate_suppliers="perhotel,ascenda"))) == ["perhotel", "ascenda"]
    assert set(chosen(Settings())) == set(ADAPTERS)
    with pytest.raises(SettingsError, match="acme is none of"):
        chosen(Settings(rate_suppliers="acme"))
