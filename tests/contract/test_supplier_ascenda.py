"""Ascenda documents in their published shape, whole and damaged -> rates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from errors import SupplierAway, SupplierDeclined
from suppliers.ascenda import Ascenda, mapping
from suppliers.http import reference
from suppliers.places.hotel_ids import ASCENDA
from suppliers.rates import FetchedChunk, Holder, Rate
from tests.rate_suppliers import PART, QUERY, told
from tests.scripted_vendor import FAULTS, ScriptedVendor, terms

ASKED = mapping.prices_query(QUERY, "1")


def hotel(hotel_id: str, **changes: Any) -> dict[str, Any]:
    document = {
        "id": ASCENDA.theirs(hotel_id), "searchRank": 0.97, "price_type": "multi",
        "max_cash_payment": 563.13, "coverted_max_cash_payment": 763.24, "points": 28150,
        "bonuses": 0, "lowest_price": 563.13, "price": 563.13, "converted_price": 763.24,
        "lowest_converted_price": 763.24, "market_rates": [{"supplier": "expedia", "rate": 570.4}],
    }
    return {name: value for name, value in {**document, **changes}.items() if value != "absent"}


def envelope(completed: bool | None, hotels: object = "absent", currency: object = "SGD") -> bytes:
    document = {"searchCompleted": None, "completed": completed, "status": None,
                "currency": currency, "body": None}
    return json.dumps(document if hotels == "absent" else {**document, "hotels": hotels}).encode()


def read(body: bytes, known: set[str] | None = None) -> tuple[bool, list[FetchedChunk]]:
    return mapping.hotel_prices(body, PART, ASKED, set() if known is None else known)


def rates(chunks: list[FetchedChunk]) -> list[Rate]:
    return [rate for chunk in chunks for rate in chunk.rates]


def test_the_request_has_destination_dates_and_guests() -> None:
    assert ASKED["destination_id"] == "6snp"
    assert (ASKED["checkin"], ASKED["checkout"], ASKED["guests"]) == (
        "2027-03-01", "2027-03-04", "2")


def test_a_price_is_the_converted_one_in_the_envelopes_currency() -> None:
    completed, [chunk] = read(envelope(True, [hotel("lisbon-1")]))
    assert completed
    assert chunk.name == "lisbon-1"
    [rate] = chunk.rates
    assert (rate.hotel_id, rate.price, rate.currency, rate.refundable) == (
        "lisbon-1", "763.24", "SGD", False)


@pytest.mark.parametrize(("changes", "price"), [
    ({"converted_price": "763.2"}, "763.20"),
    ({"converted_price": None}, "763.24"),
    ({"converted_price": "absent", "lowest_converted_price": "absent"}, "763.24"),
    # The right spelling, should the vendor ever mend it.
    ({"converted_price": "absent", "lowest_converted_price": "absent",
      "coverted_max_cash_payment": "absent", "converted_max_cash_payment": 700}, "700.00"),
    ({"converted_price": "absent", "lowest_converted_price": "absent",
      "coverted_max_cash_payment": "absent"}, "563.13"),
    ({"market_rates": None, "searchRank": None, "price_type": 7}, "763.24"),
])
def test_the_next_price_is_taken_where_one_is_missing(changes: dict[str, Any], price: str) -> None:
    _, chunks = read(envelope(True, [hotel("lisbon-1", **changes)]))
    assert [rate.price for rate in rates(chunks)] == [price]


NO_PRICE = dict.fromkeys(
    ("max_cash_payment", "coverted_max_cash_payment", "lowest_price", "price", "converted_price",
     "lowest_converted_price"), "absent")


@pytest.mark.parametrize("changes", [
    NO_PRICE, {"converted_price": "n/a"}, {"converted_price": 0}, {"converted_price": -3},
    {"converted_price": {}},
])
def test_a_broken_hotel_is_its_own_error_but_only_in_the_last_answer(
    changes: dict[str, Any]
) -> None:
    hotels = [hotel("lisbon-1", **changes), hotel("lisbon-2")]
    completed, chunks = read(envelope(False, hotels))
    assert not completed
    assert [chunk.name for chunk in chunks] == ["lisbon-2"]
    assert all(chunk.errors == () for chunk in chunks)
    completed, chunks = read(envelope(True, hotels), {"lisbon-2"})
    assert completed
    assert [(chunk.name, told(chunk.errors)) for chunk in chunks] == [
        ("errors", [("lisbon-1", "unreadable")])]


def test_hotels_can_be_missing_until_it_is_completed() -> None:
    assert read(envelope(False)) == (False, [])
    assert read(envelope(None, None)) == (False, [])
    assert read(envelope(True)) == (True, [])


def test_a_price_that_was_seen_stays_and_other_hotels_are_passed_over() -> None:
    known: set[str] = set()
    body = envelope(False, [hotel("lisbon-1"), hotel("lisbon-9"), {"id": "abcd"}])
    assert [chunk.name for chunk in read(body, known)[1]] == ["lisbon-1"]
    body = envelope(True, [hotel("lisbon-1", converted_price=1), hotel("lisbon-2")])
    assert [chunk.name for chunk in read(body, known)[1]] == ["lisbon-2"]


def test_without_a_currency_nothing_has_a_price() -> None:
    _, [chunk] = read(envelope(True, [hotel("lisbon-1")], currency=None))
    assert told(chunk.errors) == [("lisbon-1", "unreadable")]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"hotels": 3}', b'{"completed": "yes"}'])
def test_garbage_is_a_fault_that_can_be_tried_again(body: bytes) -> None:
    with pytest.raises(SupplierAway):
        read(body)


# --- a single hotel -------------------------------------------------------------------------------


def room(key: str, converted: object, **more: Any) -> dict[str, Any]:
    return {"key": key, "roomNormalizedDescription": f"Room {key}", "free_cancellation": True,
            "converted_price": converted, "price": 1, "chargeableRate": 1, **more}


def check(*rooms: object, completed: bool = True) -> tuple[bool, Any]:
    [pinned] = rates(read(envelope(True, [hotel("lisbon-1")]))[1])
    body = json.dumps({"completed": completed, "currency": "SGD", "rooms": rooms})
    return mapping.room_prices(body.encode(), pinned)


@pytest.mark.parametrize(("price", "outcome"), [
    (763.24, "available"), ("763.240", "available"), (763.25, "price_changed"),
])
def test_the_best_room_is_what_can_be_booked(price: object, outcome: str) -> None:
    completed, found = check(room("dear", 900), room("best", price), room("odd", None, price="x"))
    assert completed
    assert (found.outcome, found.rate.room, found.rate.refundable) == (outcome, "Room best", True)
    holder = Holder(given_name="Ada", family_name="L", email="ada@example.org")
    sent = mapping.booking_request(found.rate, holder, "REF")
    assert (sent["room_key"], sent["hotel_id"], sent["client_reference"]) == ("best", "02bJ", "REF")


def test_no_room_is_sold_out_and_only_unreadable_ones_are_a_fault() -> None:
    assert check()[1].outcome == "sold_out"
    with pytest.raises(SupplierAway):
        check({"price": 1}, room("a", "NaN"))
    assert check(completed=False)[0] is False


# --- cancelling -----------------------------------------------------------------------------------

KEY = "01JHANORDEROFTWENTYSIXCHAR"


def adapter(vendor: ScriptedVendor) -> Ascenda:
    return Ascenda(vendor.url, "1", terms())


def test_a_cancellation_goes_by_our_reference_and_is_the_same_when_repeated(
    vendor: ScriptedVendor
) -> None:
    # Booked, cancelled before or never heard of: a tombstone stands either way.
    vendor.will_say(*[(204, b"")] * 2)
    assert [adapter(vendor).cancel(KEY, "ada@example.org", number) for number in ("", "AS-7")] == [
        True, True]
    assert {one.body for one in vendor.asked} == {None}, "whose it was is not told"
    path = f"/api/bookings/{reference(KEY, mapping.REFERENCE_MAX)}"
    assert vendor.calls() == [f"DELETE {path}"] * 2


@pytest.mark.parametrize(("status", "said", "error"), FAULTS)
def test_a_cancellation_without_a_clear_answer_is_a_fault_that_can_be_tried_again(
    vendor: ScriptedVendor, status: int, said: bytes, error: type[Exception]
) -> None:
    vendor.will_say((status, said))
    with pytest.raises(error):
        adapter(vendor).cancel(KEY, "ada@example.org")


def test_a_vendor_that_keeps_no_tombstone_for_what_it_does_not_know_is_heard(
    vendor: ScriptedVendor
) -> None:
    vendor.will_say((404, {"error": "not_found"}))
    with pytest.raises(SupplierDeclined, match="not_found"):
        adapter(vendor).cancel(KEY, "ada@example.org")
