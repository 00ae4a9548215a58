"""Expedia Rapid documents in their published shape, whole and damaged -> rates."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from errors import SupplierAway, SupplierDeclined
from suppliers.expedia_rapid import ExpediaRapid, mapping
from suppliers.rates import Holder, Part, Rate
from tests.rate_suppliers import NOW, PART, QUERY, told
from tests.scripted_vendor import FAULTS, ScriptedVendor, terms

TOTALS = """{"inclusive": {"billable_currency": {"value": "330.12", "currency": "USD"},
  "request_currency": {"value": "301.55", "currency": "EUR"}},
  "exclusive": {"request_currency": {"value": "262.00", "currency": "EUR"}}}"""
RATE = """{"id": "333abc", "status": "available", "available_rooms": 4, "refundable": true,
  "cancel_penalties": [{"start": "2027-02-27T18:00:00.000+00:00", "end":
    "2027-03-01T18:00:00.000+00:00", "nights": "1", "currency": "EUR"}],
  "bed_groups": {"37321": {"id": "37321", "description": "1 King Bed", "links": {"price_check":
    {"method": "GET", "href": "/v3/properties/availability/20010001/rooms/1/rates/2?token=AbC"}}}},
  "occupancy_pricing": {"2": {"nightly": [[{"type": "base_rate", "value": "87.33", "currency":
    "EUR"}]], "stay": [], "fees": {}, "totals": TOTALS}}}""".replace("TOTALS", TOTALS)
PROPERTY = """{"property_id": "20010001", "status": "available", "score": 412,
  "rooms": [{"id": "1", "room_name": "Room, 1 King Bed", "rates": [RATE]}]}"""


def one(*changes: tuple[str, str]) -> str:
    text = PROPERTY.replace("RATE", RATE, 1)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def read(*properties: str) -> tuple[tuple[Rate, ...], list[tuple[str | None, str]]]:
    body = f"[{','.join(properties)}]".encode()
    chunk = mapping.availability(body, QUERY, PART, NOW)
    return chunk.rates, told(chunk.errors)


def test_a_rate_is_read_in_the_currency_that_was_asked_for() -> None:
    (rate,), errors = read(one())
    assert errors == []
    assert (rate.hotel_id, rate.room) == ("lisbon-1", "Room, 1 King Bed")
    assert (rate.price, rate.currency, rate.refundable) == ("301.55", "EUR", True)
    assert mapping.key_of(rate).price_check.endswith("?token=AbC")


@pytest.mark.parametrize(("totals", "price", "currency"), [
    ('{"inclusive": {"billable_currency": {"value": 330.12, "currency": "USD"}}}', "330.12", "USD"),
    ('{"inclusive": {"value": 301.55, "currency": "EUR"}}', "301.55", "EUR"),
    ('{"inclusive": {"value": "40000", "currency": "JPY"}}', "40000", "JPY"),
    ('{"inclusive": {"request_currency": null, "billable_currency": {"value": "1.1", '
     '"currency": "USD"}}}', "1.10", "USD"),
])
def test_every_way_to_write_a_total_is_read(totals: str, price: str, currency: str) -> None:
    (rate,), errors = read(one((TOTALS, totals)))
    assert (rate.price, rate.currency, errors) == (price, currency, [])


@pytest.mark.parametrize("change", [
    ('"2": {"nightly"', '"3": {"nightly"'), ("inclusive", "inclusiv"), ("301.55", "NaN"),
    ('"301.55"', "null"), ("totals", "total"), ("price_check", "pricecheck"),
    ('"/v3/properties/availability', '"https://elsewhere.example/v3/properties/availability'),
    ('"/v3/properties/availability', '"//elsewhere.example/v3/properties/availability'),
    ('"refundable": true', '"refundable": "yes"'), ("2027-02-27T18:00:00.000+00:00", "tomorrow"),
    ('"rooms": [', '"rooms": null, "x": ['), ('"room_name"', '"roomname"'),
    ('"request_currency": {"value": "301.55", "currency": "EUR"}',
     '"request_currency": {"value": "301.55"}'),
])
def test_a_broken_property_is_its_own_error_and_the_next_one_is_read(
    change: tuple[str, str]
) -> None:
    rates, errors = read(one(change), one(("20010001", "20010002")))
    assert [rate.hotel_id for rate in rates] == ["lisbon-2"]
    assert errors == [("lisbon-1", "unreadable")]


@pytest.mark.parametrize(("text", "error"), [
    ("7", (None, "unreadable")), ('{"status": "available"}', (None, "unreadable")),
    (one(('"20010001"', '"77"')), (None, "unknown_hotel")),
    (one(('"20010001"', '"20010009"')), ("lisbon-9", "not_asked")),
])
def test_a_property_that_is_not_ours_is_said(text: str, error: tuple[str | None, str]) -> None:
    rates, errors = read(text, one())
    assert [rate.hotel_id for rate in rates] == ["lisbon-1"]
    assert errors == [error]


@pytest.mark.parametrize(("change", "refundable"), [
    (('"refundable": true', '"refundable": false'), False),
    (('"refundable": true', '"refundable": null'), False),
    (("2027-02-27T18:00:00.000+00:00", "2027-01-09T18:00:00.000+00:00"), False),
])
def test_refundable_is_what_costs_nothing_now(change: tuple[str, str], refundable: bool) -> None:
    (rate,), _ = read(one(change))
    assert rate.refundable is refundable


@pytest.mark.parametrize("change", [
    ('"status": "available", "available_rooms"', '"status": "sold_out", "available_rooms"'),
    ('"available_rooms": 4', '"available_rooms": "0"'),
])
def test_what_is_sold_out_is_no_rate_and_no_error(change: tuple[str, str]) -> None:
    assert read(one(change)) == ((), [])


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b'{"type": "x"}', b"[1"])
def test_garbage_is_a_fault_that_can_be_tried_again(body: bytes) -> None:
    with pytest.raises(SupplierAway):
        mapping.availability(body, QUERY, PART, NOW)


def test_the_request_has_dates_occupancy_and_their_ids() -> None:
    sent = mapping.availability_query(QUERY, Part(0, ("lisbon-1", "nowhere-1", "porto-20")))
    assert sent["property_id"] == ["20010001", "20020020"]
    assert (sent["checkin"], sent["checkout"], sent["occupancy"], sent["currency"]) == (
        "2027-03-01", "2027-03-04", "2", "EUR")


def check(status: str, totals: str = TOTALS, href: str = "/v3/itineraries?token=xyz") -> bytes:
    return json.dumps({
        "status": status, "occupancy_pricing": {"2": {"totals": json.loads(totals)}},
        "links": {"book": {"method": "POST", "href": href}}}).encode()


@pytest.mark.parametrize(("status", "totals", "outcome"), [
    ("available", TOTALS, "available"),
    ("price_changed", TOTALS.replace("301.55", "310"), "price_changed"),
    # The vendor's word and its number may differ: the customer is asked about the number.
    ("available", TOTALS.replace("301.55", "310"), "price_changed"),
    ("price_changed", TOTALS, "available"),
    ("available", TOTALS.replace("EUR", "GBP"), "price_changed"),
])
def test_a_price_check_compares_by_value(status: str, totals: str, outcome: str) -> None:
    (pinned,), _ = read(one())
    found = mapping.price_checked(check(status, totals), pinned)
    assert found.outcome == outcome
    assert found.rate is not None
    assert mapping.key_of(found.rate).book == "/v3/itineraries?token=xyz"


def test_a_price_check_that_is_sold_out_or_broken() -> None:
    (pinned,), _ = read(one())
    assert mapping.price_checked(b'{"status": "sold_out"}', pinned).outcome == "sold_out"
    for body in (check("later"), check("available", href="https://elsewhere.example/v3/x"),
                 b'{"status": "available"}', check("available").replace(b'"2"', b'"1"')):
        with pytest.raises(SupplierAway):
            mapping.price_checked(body, pinned)


def test_a_booking_names_holder_and_reference() -> None:
    holder = Holder(given_name="Ada", family_name="Lovelace", email="ada@example.org")
    sent: Any = mapping.booking_request(holder, "REF")
    assert (sent["affiliate_reference_id"], sent["email"]) == ("REF", "ada@example.org")
    assert sent["rooms"][0]["family_name"] == "Lovelace"
    assert mapping.booked(b'{"itinerary_id": "8999", "links": {}}') == "8999"
    with pytest.raises(SupplierAway):
        mapping.booked(b'{"itinerary": 1}')


# --- cancelling -----------------------------------------------------------------------------------

KEY = "01JHANORDEROFTWENTYSIXCHAR"
LINK = "/v3/itineraries/8955599932111/rooms/1abc?token=QldfCGlcUA4GXVlSAQ4W"
REFUSED = {"type": "resource_not_found", "message": "There is no such itinerary."}


def adapter(vendor: ScriptedVendor) -> ExpediaRapid:
    return ExpediaRapid(vendor.url, "key", "secret", terms())


def room(status: str, *, link: str | None = LINK) -> dict[str, Any]:
    links = {} if link is None else {"cancel": {"method": "DELETE", "href": link}}
    return {"id": "1abc", "status": status, "given_name": "Ada", "links": links,
            "confirmation_id": {"expedia": "8955599932111"}, "rate": {"id": "333abc"}}


def itinerary(*rooms: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"itinerary_id": "8955599932111", "property_id": "20010001", "rooms": list(rooms),
             "affiliate_reference_id": KEY, "email": "ada@example.org",
             "links": {"resume": None}, "creation_date_time": "2027-01-09T10:00:00.000Z"}]


def test_an_itinerary_is_found_by_our_reference_and_its_rooms_cancelled(
    vendor: ScriptedVendor
) -> None:
    second = LINK.replace("1abc", "2def")
    vendor.will_say((200, itinerary(room("booked"), room("booked", link=second))),
                    (204, b""), (202, b""))
    assert adapter(vendor).cancel(KEY, "ada@example.org", "8955599932111") is True
    assert vendor.asked[0].query == {"affiliate_reference_id": KEY, "email": "ada@example.org"}
    assert vendor.asked[1].query == {"token": "QldfCGlcUA4GXVlSAQ4W"}, "the link as it came"
    stamp = int(NOW.timestamp())
    digest = hashlib.sha512(f"keysecret{stamp}".encode()).hexdigest()
    assert {one.headers["Authorization"] for one in vendor.asked} == {
        f"EAN APIKey=key,Signature={digest},timestamp={stamp}"}
    assert vendor.calls() == [
        "GET /v3/itineraries", "DELETE /v3/itineraries/8955599932111/rooms/1abc",
        "DELETE /v3/itineraries/8955599932111/rooms/2def"]


@pytest.mark.parametrize(("status", "said", "settled"), [
    (200, itinerary(room("canceled", link=None)), True),
    (200, [], False), (200, itinerary(), False), (404, REFUSED, False),
])
def test_what_was_cancelled_before_is_said_to_be_and_what_is_unknown_is_not(
    vendor: ScriptedVendor, status: int, said: object, settled: bool
) -> None:
    vendor.will_say((status, said))
    assert adapter(vendor).cancel(KEY, "ada@example.org") is settled
    assert vendor.calls() == ["GET /v3/itineraries"]


def test_a_room_of_several_that_is_left_is_cancelled(vendor: ScriptedVendor) -> None:
    """Killed between two rooms, and asked again."""
    vendor.will_say((200, itinerary(room("canceled", link=None), room("booked"))), (204, b""))
    assert adapter(vendor).cancel(KEY, "ada@example.org") is True
    assert len(vendor.calls()) == 2


def test_a_room_that_cannot_be_cancelled_yet_is_not_taken_for_one_that_was(
    vendor: ScriptedVendor
) -> None:
    vendor.will_say((200, itinerary(room("pending", link=None))))
    with pytest.raises(SupplierAway, match="cannot be cancelled yet"):
        adapter(vendor).cancel(KEY, "ada@example.org")


def test_a_link_to_elsewhere_is_not_followed(vendor: ScriptedVendor) -> None:
    vendor.will_say((200, itinerary(room("booked", link="https://elsewhere.example/v3/x"))))
    with pytest.raises(SupplierAway, match="not understood"):
        adapter(vendor).cancel(KEY, "ada@example.org")
    assert vendor.calls() == ["GET /v3/itineraries"]


@pytest.mark.parametrize(("status", "said", "error"), [*FAULTS, (200, b"{}", SupplierAway)])
def test_a_cancellation_without_a_clear_answer_is_a_fault_that_can_be_tried_again(
    vendor: ScriptedVendor, status: int, said: bytes, error: type[Exception]
) -> None:
    for before in ([], [(200, itinerary(room("booked")))]):
        vendor.will_say(*before, (status, said))
        with pytest.raises(error):
            adapter(vendor).cancel(KEY, "ada@example.org")


def test_a_clear_no_is_one(vendor: ScriptedVendor) -> None:
    vendor.will_say((401, {"type": "request_unauthenticated"}))
    with pytest.raises(SupplierDeclined, match="unauthorized"):
        adapter(vendor).cancel(KEY, "ada@example.org")
    # Such as a room that somebody else cancelled a moment ago: the next look will show it.
    vendor.will_say((200, itinerary(room("booked"))), (400, {"type": "invalid_input"}))
    with pytest.raises(SupplierDeclined, match="status_400"):
        adapter(vendor).cancel(KEY, "ada@example.org")
