"""Hotelbeds documents in their published shape, whole and damaged -> rates."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from errors import SupplierAway, SupplierDeclined
from suppliers.hotelbeds import Hotelbeds, mapping
from suppliers.http import reference
from suppliers.rates import Board, Holder, Part, Rate
from tests.rate_suppliers import NOW, PART, QUERY, told
from tests.scripted_vendor import FAULTS, ScriptedVendor, terms

RATE = """{"rateKey": "20270301|20270304|W|1|10001|DBL.ST|BAR|RO||1~2~0||N@1", "rateClass": "NOR",
  "rateType": "BOOKABLE", "net": "312.40", "allotment": 6, "paymentType": "AT_WEB",
  "boardCode": "BB", "boardName": "BED AND BREAKFAST",
  "cancellationPolicies": [{"amount": "104.13", "from": "2027-02-26T23:59:00+01:00"}],
  "rooms": 1, "adults": 2, "children": 0, "offers": [{"code": "055", "name": "Deal"}]}"""
HOTEL = """{"code": 10001, "name": "Amber House", "categoryCode": "4EST", "destinationCode": "LIS",
  "zoneCode": 1, "latitude": "38.7", "longitude": "-9.1", "minRate": "312.40", "maxRate": 312.40,
  "currency": "EUR", "rooms": [{"code": "DBL.ST", "name": "DOUBLE  STANDARD", "rates": [RATE]}]}"""


def hotel(*changes: tuple[str, str]) -> str:
    text = HOTEL.replace("RATE", RATE, 1)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def answer(*hotels: str) -> bytes:
    return ('{"auditData": {"processTime": "18", "timestamp": "2027-01-10 12:00:00", "token": "t"},'
            '"hotels": {"hotels": [' + ",".join(hotels) + '], "checkIn": "2027-03-01", "checkOut":'
            ' "2027-03-04", "total": 1}}').encode()


def read(*hotels: str) -> tuple[tuple[Rate, ...], list[tuple[str | None, str]]]:
    chunk = mapping.availability(answer(*hotels), QUERY, PART, NOW)
    assert chunk.name == "0"
    return chunk.rates, told(chunk.errors)


def test_a_rate_is_read_with_all_that_is_known_of_it() -> None:
    (rate,), errors = read(hotel())
    assert errors == []
    assert (rate.hotel_id, rate.supplier, rate.room, rate.board) == (
        "lisbon-1", "hotelbeds", "DOUBLE STANDARD", Board.BREAKFAST)
    assert (rate.price, rate.currency, rate.refundable) == ("312.40", "EUR", True)
    assert mapping.key_of(rate).rate_key.startswith("20270301|")


@pytest.mark.parametrize(("net", "price"), [
    ('"312.40"', "312.40"), ("312.40", "312.40"), ("312.4", "312.40"), ("312", "312.00"),
    ('"312"', "312.00"), ("0.1", "0.10"), ("1234567.89", "1234567.89"), ("3.124e2", "312.40"),
    # A float would make 100.29999999999999716 of the first and lose digits of the second.
    ("100.3", "100.30"), ("12345678.123456", "12345678.123456"),
])
def test_money_is_exact_as_number_and_as_string(net: str, price: str) -> None:
    (rate,), errors = read(hotel(('"net": "312.40"', f'"net": {net}')))
    assert (rate.price, errors) == (price, [])


@pytest.mark.parametrize("net", [
    '"NaN"', '"sNaN"', '"Infinity"', '"-1"',
    "0", "-312.4", '""', "true", "[]", '"1e999999999"', "1e40",
    '"0.00000001"', '"three"', "null",
])
def test_a_price_that_is_none_costs_that_rate_only(net: str) -> None:
    broken = RATE.replace('"net": "312.40"', f'"net": {net}')
    rates, errors = read(hotel((RATE, f"{broken}, {RATE}")))
    assert [rate.price for rate in rates] == ["312.40"]
    assert errors == [("lisbon-1", "unreadable")]


def test_the_price_that_is_prescribed_for_the_customer_comes_before_the_agencys() -> None:
    (rate,), _ = read(hotel(('"net": "312.40"', '"net": "312.40", "sellingRate": 390.5')))
    assert rate.price == "390.50"


@pytest.mark.parametrize(("currency", "net", "price"), [
    ("JPY", '"50600"', "50600"), ("JPY", "50600.0", "50600"), ("KWD", "104.7", "104.700"),
])
def test_a_currency_is_kept_with_its_own_decimals(currency: str, net: str, price: str) -> None:
    (rate,), _ = read(hotel(('"EUR"', f'"{currency}"'), ('"net": "312.40"', f'"net": {net}')))
    assert (rate.price, rate.currency) == (price, currency)


@pytest.mark.parametrize(("change", "refundable"), [
    (('"NOR"', '"NRF"'), False),
    (("2027-02-26T23:59:00+01:00", "2027-01-10T12:59:00+01:00"), False),  # begun a minute ago
    (("2027-02-26T23:59:00+01:00", "2027-01-10T13:01:00+01:00"), True),
    (('[{"amount": "104.13", "from": "2027-02-26T23:59:00+01:00"}]', "null"), False),
    (('[{"amount": "104.13", "from": "2027-02-26T23:59:00+01:00"}]', "[]"), False),
    (('"from": "2027-02-26T23:59:00+01:00"}', '"from": "2027-02-26T23:59:00"}, '
      '{"amount": 10.0, "from": "2027-02-27T00:00:00+01:00"}'), True),
    (('"from": "2027-02-26T23:59:00+01:00"}', '"from": "2027-02-26T23:59:00+01:00"}, '
      '{"amount": 10.0, "from": "2026-12-01T00:00:00+01:00"}'), False),
])
def test_refundable_is_what_costs_nothing_now(change: tuple[str, str], refundable: bool) -> None:
    (rate,), _ = read(hotel(change))
    assert rate.refundable is refundable


@pytest.mark.parametrize("change", [
    ('"currency"', '"curency"'), ('"EUR"', "null"), ('"EUR"', '"euro"'),
    ('"rooms": [', '"room": ['), ('"allotment": 6', '"allotment": "sNaN"'),
    ('"rateKey"', '"ratekey"'), ('"net"', '"nett"'), ('"from"', '"form"'), ('"rateClass"', '"x"'),
    ('"name": "DOUBLE  STANDARD"', '"name": 5'), ("2027-02-26T23:59:00+01:00", "soon"),
    ('"rates": [', '"rates": 1, "x": ['), ('"allotment": 6', '"allotment": {}'),
])
def test_a_broken_hotel_is_its_own_error_and_the_next_one_is_read(change: tuple[str, str]) -> None:
    rates, errors = read(hotel(change), hotel(("10001", "10002")))
    assert [rate.hotel_id for rate in rates] == ["lisbon-2"]
    assert errors == [("lisbon-1", "unreadable")]


@pytest.mark.parametrize(("text", "error"), [
    ("null", (None, "unreadable")), ("[]", (None, "unreadable")), ("{}", (None, "unreadable")),
    (hotel(('"code": 10001', '"code": null')), (None, "unreadable")),
    (hotel(("10001", "99990001")), (None, "unknown_hotel")),
    (hotel(("10001", "10009")), ("lisbon-9", "not_asked")),
])
def test_a_hotel_that_is_not_ours_is_said(text: str, error: tuple[str | None, str]) -> None:
    rates, errors = read(text, hotel())
    assert [rate.hotel_id for rate in rates] == ["lisbon-1"]
    assert errors == [error]


def test_a_code_may_be_a_string_and_a_rate_that_is_gone_is_no_error() -> None:
    assert read(hotel(('"code": 10001', '"code": "10001"')))[0][0].hotel_id == "lisbon-1"
    assert read(hotel(('"allotment": 6', '"allotment": "0"'))) == ((), [])


@pytest.mark.parametrize("body", [b'{"hotels": {"total": 0}}', b'{"hotels": {"hotels": []}}'])
def test_no_hotel_at_all_is_an_answer(body: bytes) -> None:
    chunk = mapping.availability(body, QUERY, PART, NOW)
    assert (chunk.rates, chunk.errors) == ((), ())


@pytest.mark.parametrize("body", [
    b"", b"<html>", b"null", b"[]", b"{}", b'{"hotels": null}', b'{"hotels": {"hotels": 1}}',
    answer(hotel())[:-9], b"\xff\xfe", b'{"hotels":' + b"[" * 100_000,
])
def test_garbage_is_a_fault_that_can_be_tried_again(body: bytes) -> None:
    with pytest.raises(SupplierAway):
        mapping.availability(body, QUERY, PART, NOW)


def test_the_request_has_dates_occupancy_and_their_ids() -> None:
    part = Part(0, ("lisbon-1", "nowhere-1", "porto-20"))
    sent: dict[str, Any] = json.loads(json.dumps(mapping.availability_request(QUERY, part),
                                                 default=str))
    assert sent == {
        "stay": {"checkIn": "2027-03-01", "checkOut": "2027-03-04"},
        "occupancies": [{"rooms": 1, "adults": 2, "children": 0}],
        "hotels": {"hotel": [10001, 20020]},
    }


def pinned() -> Rate:
    return read(hotel())[0][0]


@pytest.mark.parametrize(("net", "outcome"), [
    ('"312.40"', "available"), ("312.4", "available"), ("312.41", "price_changed"),
    ("300", "price_changed"),
])
def test_a_recheck_compares_by_value(net: str, outcome: str) -> None:
    body = f'{{"hotel": {hotel(("20270301|", "new|"))}}}'
    body = body.replace('"net": "312.40"', f'"net": {net}')
    check = mapping.checked(body.encode(), pinned(), NOW)
    assert check.outcome == outcome
    assert check.rate is not None
    assert mapping.key_of(check.rate).rate_key.startswith("new|")


def test_a_recheck_without_a_rate_is_sold_out_and_a_broken_one_a_fault() -> None:
    body = f'{{"hotel": {hotel(("[" + RATE + "]", "[]"))}}}'.encode()
    assert mapping.checked(body, pinned(), NOW).outcome == "sold_out"
    with pytest.raises(SupplierAway):
        mapping.checked(body.replace(b'"rates": []', b'"rates": [{}]'), pinned(), NOW)


def test_a_booking_names_every_pax_and_allows_no_dearer_price() -> None:
    holder = Holder(given_name="Ada", family_name="Lovelace", email="ada@example.org")
    sent: Any = mapping.booking_request(pinned(), holder, "REF")
    assert sent["holder"] == {"name": "Ada", "surname": "Lovelace"}
    assert (sent["clientReference"], sent["tolerance"]) == ("REF", 0)
    assert len(sent["rooms"][0]["paxes"]) == QUERY.guests
    assert mapping.booked(b'{"booking": {"reference": "1-2", "status": "CONFIRMED"}}') == "1-2"
    with pytest.raises(SupplierDeclined, match="not_confirmed"):
        mapping.booked(b'{"booking": {"reference": "1-2", "status": "CANCELLED"}}')


@pytest.mark.parametrize(("body", "word"), [
    (b'{"error": {"code": "PRODUCT_ERROR", "message": "m"}}', "sold_out"),
    (b'{"error": {"code": "PRICE_INCREASED", "message": "m"}}', "price_changed"),
    (b'{"error": {"code": "INVALID_DATA"}}', ""), (b'{"error": "x"}', ""), (b"<html>", ""),
])
def test_an_error_document_is_one_word(body: bytes, word: str) -> None:
    assert mapping.refusal(body) == word


# --- cancelling -----------------------------------------------------------------------------------

ROOT = "/hotel-api/1.0/bookings"
KEY = "01JHANORDEROFTWENTYSIXCHAR"


def adapter(vendor: ScriptedVendor) -> Hotelbeds:
    return Hotelbeds(vendor.url, "key", "secret", terms())


def booking(status: str, own: str = reference(KEY, 20)) -> dict[str, Any]:
    return {"reference": "102-8107143", "clientReference": own, "creationDate": "2027-01-09",
            "status": status, "modificationPolicies": {"cancellation": True, "modification": True},
            "holder": {"name": "ADA", "surname": "LOVELACE"}, "totalNet": 312.4, "currency": "EUR",
            "hotel": {"code": 10001, "name": "Amber House", "checkIn": "2027-03-01"}}


def listed(*bookings: dict[str, Any]) -> dict[str, Any]:
    return {"auditData": {"processTime": "9"}, "bookings": {
        "bookings": list(bookings), "from": 1, "to": 25, "total": len(bookings)}}


def told_of(status: str) -> dict[str, Any]:
    return {"auditData": {"processTime": "9"}, "booking": {
        **booking(status), "cancellationReference": "DFT7TR7WZA"}}


def test_a_booking_is_cancelled_by_its_number(vendor: ScriptedVendor) -> None:
    vendor.will_say((200, told_of("CANCELLED")))
    assert adapter(vendor).cancel(KEY, "ada@example.org", "102-8107143") is True
    [asked] = vendor.asked
    assert (asked.method, asked.path) == ("DELETE", f"{ROOT}/102-8107143")
    # Anything else would only ask what it would cost.
    assert asked.query == {"cancellationFlag": "CANCELLATION"}
    signed = f"keysecret{int(NOW.timestamp())}"
    assert (asked.headers["Api-key"], asked.headers["X-Signature"]) == (
        "key", hashlib.sha256(signed.encode()).hexdigest())


def test_a_booking_whose_number_nobody_heard_is_found_by_our_reference(
    vendor: ScriptedVendor
) -> None:
    vendor.will_say((200, listed(booking("CONFIRMED", "ANOTHER"), booking("CONFIRMED"))),
                    (200, told_of("CANCELLED")))
    assert adapter(vendor).cancel(KEY, "ada@example.org") is True
    assert vendor.asked[0].query["clientReference"] == reference(KEY, 20)
    assert (vendor.asked[0].query["start"], vendor.asked[0].query["end"]) == (
        "2026-12-12", "2027-01-11"), "31 days, of which today is one"
    assert vendor.calls() == [f"GET {ROOT}", f"DELETE {ROOT}/102-8107143"]


def test_what_was_cancelled_before_is_said_to_be_and_what_is_unknown_is_not(
    vendor: ScriptedVendor
) -> None:
    for said, settled in (
        (listed(booking("CANCELLED")), True),
        (listed(), False),
        ({"bookings": {"total": 0}}, False),
        # Somebody else's, whatever the question was.
        (listed(booking("CANCELLED", "ANOTHER")), False),
    ):
        vendor.will_say((200, said))
        assert adapter(vendor).cancel(KEY, "ada@example.org") is settled
        assert vendor.calls() == [f"GET {ROOT}"]


def test_a_second_cancellation_may_be_refused_when_the_first_one_was_done(
    vendor: ScriptedVendor
) -> None:
    refused = {"error": {"code": "INVALID_DATA", "message": "it is cancelled"}}
    vendor.will_say((400, refused), (200, told_of("CANCELLED")))
    assert adapter(vendor).cancel(KEY, "ada@example.org", "102-8107143") is True
    assert vendor.calls() == [f"DELETE {ROOT}/102-8107143", f"GET {ROOT}/102-8107143"]
    # Refused for another reason, or a number that there is not: a person has to look.
    vendor.will_say((400, refused), (200, told_of("CONFIRMED")))
    with pytest.raises(SupplierDeclined, match="status_400"):
        adapter(vendor).cancel(KEY, "ada@example.org", "102-8107143")
    vendor.will_say((404, refused), (404, refused))
    with pytest.raises(SupplierDeclined, match="not_found"):
        adapter(vendor).cancel(KEY, "ada@example.org", "102-8107143")


@pytest.mark.parametrize(("status", "said", "error"), FAULTS)
def test_a_cancellation_without_a_clear_answer_is_a_fault_that_can_be_tried_again(
    vendor: ScriptedVendor, status: int, said: bytes, error: type[Exception]
) -> None:
    for before, number in (
        ([], "102-8107143"), ([], ""), ([(200, listed(booking("CONFIRMED")))], ""),
        ([(400, {"error": {"code": "INVALID_DATA"}})], "102-8107143"),
    ):
        vendor.will_say(*before, (status, said))
        with pytest.raises(error):
            adapter(vendor).cancel(KEY, "ada@example.org", number)


def test_a_cancellation_that_left_the_booking_as_it_was_is_no_success(
    vendor: ScriptedVendor
) -> None:
    vendor.will_say((200, told_of("CONFIRMED")))
    with pytest.raises(SupplierAway, match="did not cancel"):
        adapter(vendor).cancel(KEY, "ada@example.org", "102-8107143")


def test_over_the_days_quota_nothing_can_be_cancelled(vendor: ScriptedVendor) -> None:
    vendor.will_say((403, {"error": {"code": "QUOTA", "message": "m"}}))
    with pytest.raises(SupplierDeclined, match="quota_used_up"):
        adapter(vendor).cancel(KEY, "ada@example.org", "102-8107143")
