"""Documents of the per-hotel vendor, whole and damaged -> rates and tokens."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from errors import SupplierAway, SupplierDeclined, TokenExpired
from suppliers.http import IssuedToken, reference
from suppliers.perhotel import PerHotel, mapping
from suppliers.rates import Board, FetchedChunk, Holder, Rate
from tests.rate_suppliers import QUERY, LocalTokens, told
from tests.scripted_vendor import FAULTS, ScriptedVendor, terms

ROOM = {"rate_id": "r-1", "name": "Double  room", "board": "breakfast", "price": "120.50",
        "refundable": True, "available": 3}


def read(*rooms: object, **changes: Any) -> FetchedChunk:
    body = json.dumps({"hotel_id": "lisbon-1", "currency": "EUR", "rooms": rooms, **changes})
    return mapping.rates(body.encode(), "lisbon-1")


def pinned() -> Rate:
    return read(ROOM).rates[0]


def test_a_rate_is_read_with_all_that_is_known_of_it() -> None:
    rate = pinned()
    assert (rate.hotel_id, rate.supplier, rate.room, rate.board) == (
        "lisbon-1", "perhotel", "Double room", Board.BREAKFAST)
    assert (rate.price, rate.currency, rate.refundable) == ("120.50", "EUR", True)
    assert mapping.rates_query(QUERY) == {
        "check_in": "2027-03-01", "check_out": "2027-03-04", "guests": "2"}


@pytest.mark.parametrize(("room", "price", "currency"), [
    ({**ROOM, "price": 120.3}, "120.30", "EUR"), ({**ROOM, "price": "120"}, "120.00", "EUR"),
    ({**ROOM, "price": 9000, "currency": "JPY"}, "9000", "JPY"),
])
def test_money_and_currency_are_kept(room: dict[str, Any], price: str, currency: str) -> None:
    [rate] = read(room).rates
    assert (rate.price, rate.currency) == (price, currency)


@pytest.mark.parametrize("change", [
    {"price": None}, {"price": "free"}, {"price": 0}, {"name": None}, {"rate_id": 7},
    {"currency": "eur"}, {"refundable": "no"}, {"rate_id": "x" * 5_000},
])
def test_a_broken_room_costs_that_room_only(change: dict[str, Any]) -> None:
    chunk = read({**ROOM, **change}, ROOM)
    assert [rate.price for rate in chunk.rates] == ["120.50"]
    assert told(chunk.errors) == [("lisbon-1", "unreadable")]


def test_missing_extras_mean_the_careful_thing() -> None:
    [rate] = read({"rate_id": "r", "name": "Room", "price": 1}).rates
    assert (rate.board, rate.refundable) == (Board.UNKNOWN, False)
    assert read({**ROOM, "available": 0}) == FetchedChunk("lisbon-1", ())
    assert told(read({**ROOM}, currency=None).errors) == [("lisbon-1", "unreadable")]


def test_the_answer_about_another_hotel_is_not_taken_for_this_one() -> None:
    chunk = read(ROOM, hotel_id="lisbon-2")
    assert chunk.rates == ()
    assert told(chunk.errors) == [("lisbon-1", "unreadable")]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"hotel_id": "lisbon-1", "rooms": null}'])
def test_garbage_is_a_fault_that_can_be_tried_again(body: bytes) -> None:
    with pytest.raises(SupplierAway):
        mapping.rates(body, "lisbon-1")


@pytest.mark.parametrize(("document", "outcome"), [
    ({"status": "available", "price": 120.5, "currency": "EUR"}, "available"),
    ({"status": "price_changed", "price": "121", "currency": "EUR"}, "price_changed"),
    ({"status": "available", "price": "120.50", "currency": "USD"}, "price_changed"),
    ({"status": "sold_out"}, "sold_out"),
])
def test_a_recheck_compares_by_value(document: dict[str, Any], outcome: str) -> None:
    assert mapping.checked(json.dumps(document).encode(), pinned()).outcome == outcome


def test_a_recheck_that_is_broken_is_a_fault() -> None:
    for document in ({"status": "available"}, {"status": "available", "price": "NaN",
                                               "currency": "EUR"}, {}):
        with pytest.raises(SupplierAway):
            mapping.checked(json.dumps(document).encode(), pinned())


@pytest.mark.parametrize(("document", "life_s"), [
    ({"access_token": "t", "expires_in": 600, "token_type": "Bearer"}, 600.0),
    ({"access_token": "t", "expires_in": "600"}, 600.0),
    ({"access_token": "t", "expires_in": 999_999}, 86_400.0),
])
def test_a_token_is_read_with_its_life(document: dict[str, Any], life_s: float) -> None:
    assert mapping.token(json.dumps(document).encode()) == ("t", life_s)


@pytest.mark.parametrize("document", [
    {}, {"access_token": "t"}, {"access_token": "", "expires_in": 1},
    {"access_token": "t\r\nX-Evil: 1", "expires_in": 1}, {"access_token": "t", "expires_in": 0},
    {"access_token": "t", "expires_in": "NaN"}, {"access_token": None, "expires_in": 1},
])
def test_a_token_that_is_none_is_a_fault(document: dict[str, Any]) -> None:
    with pytest.raises(SupplierAway):
        mapping.token(json.dumps(document).encode())


def test_a_booking_names_price_and_reference() -> None:
    holder = Holder(given_name="Ada", family_name="L", email="ada@example.org")
    sent = mapping.booking_request(pinned(), holder, "REF")
    assert (sent["rate_id"], sent["price"], sent["currency"], sent["reference"]) == (
        "r-1", "120.50", "EUR", "REF")


# --- cancelling -----------------------------------------------------------------------------------

KEY = "01JHANORDEROFTWENTYSIXCHAR"
DELETED = f"DELETE /bookings/{reference(KEY, mapping.REFERENCE_MAX)}"


def adapter(vendor: ScriptedVendor) -> PerHotel:
    """With tokens 1, 2, ...: a refusal brings the next one."""
    numbers = itertools.count(1)
    tokens = LocalTokens({"perhotel:us": lambda: IssuedToken(f"token-{next(numbers)}", 600.0)})
    return PerHotel(vendor.url, "us", tokens, terms())


def test_a_cancellation_goes_by_our_reference_and_is_the_same_when_repeated(
    vendor: ScriptedVendor
) -> None:
    # Booked, cancelled before or never heard of: a tombstone stands either way.
    vendor.will_say(*[(204, b"")] * 2)
    supplier = adapter(vendor)
    assert [supplier.cancel(KEY, "ada@example.org", number) for number in ("", "PE-7")] == [
        True, True]
    assert {one.headers["Authorization"] for one in vendor.asked} == {"Bearer token-1"}
    assert vendor.calls() == [DELETED] * 2


def test_a_cancellation_outlives_its_token_once(vendor: ScriptedVendor) -> None:
    vendor.will_say((401, {"error": "invalid_token"}), (204, b""))
    assert adapter(vendor).cancel(KEY, "ada@example.org") is True
    assert [one.headers["Authorization"] for one in vendor.asked] == [
        "Bearer token-1", "Bearer token-2"]
    vendor.will_say(*[(401, {"error": "invalid_token"})] * 2)
    with pytest.raises(TokenExpired):
        adapter(vendor).cancel(KEY, "ada@example.org")


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
