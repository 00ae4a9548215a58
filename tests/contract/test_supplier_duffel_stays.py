"""Duffel Stays documents in their published shape, whole and damaged -> rates."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from errors import SupplierAway, SupplierDeclined
from suppliers.duffel_stays import DuffelStays, mapping
from suppliers.places.hotel_ids import DUFFEL_STAYS
from suppliers.rates import Board, Holder, Rate
from tests.rate_suppliers import NOW, PART, QUERY, told
from tests.scripted_vendor import FAULTS, ScriptedVendor, terms

RATE = """{"id": "rat_0000BTVRuKZTavzrZDJ4cb", "total_amount": "799.00", "total_currency": "GBP",
  "base_amount": "665.83", "base_currency": "GBP", "tax_amount": "133.17", "tax_currency": "GBP",
  "fee_amount": null, "fee_currency": "GBP", "due_at_accommodation_amount": "39.95",
  "due_at_accommodation_currency": "GBP", "board_type": "half_board", "payment_type": "pay_now",
  "cancellation_timeline": [
    {"before": "2027-02-20T12:00:00Z", "refund_amount": "799.00", "currency": "GBP"},
    {"before": "2027-02-27T12:00:00Z", "refund_amount": "399.50", "currency": "GBP"}],
  "quantity_available": 2, "expires_at": "2027-01-10T12:42:19.882Z"}"""
ROOMS = """{"data": {"id": "srr_1", "accommodation": {"id": "acc_0000HB0000010001", "rooms": [
  {"name": "Double Suite", "beds": [{"type": "double", "count": 1}], "rates": [RATE]}]}}}"""


def read(*changes: tuple[str, str]) -> tuple[tuple[Rate, ...], list[tuple[str | None, str]]]:
    text = ROOMS.replace("RATE", RATE)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    chunk = mapping.all_rates(text.encode(), "lisbon-1", 2, NOW)
    assert chunk.name == "lisbon-1"
    return chunk.rates, told(chunk.errors)


def result(hotel_id: str) -> dict[str, Any]:
    return {"id": f"srr_{hotel_id}", "accommodation": {"id": DUFFEL_STAYS.theirs(hotel_id)},
            "cheapest_rate_total_amount": "799.00", "cheapest_rate_currency": "GBP",
            "expires_at": "2027-01-10T12:42:19Z"}


def search(*results: object) -> bytes:
    return json.dumps({"data": {"results": results, "created_at": "2027-01-10"}}).encode()


def test_a_rate_is_read_with_all_that_is_known_of_it() -> None:
    (rate,), errors = read()
    assert errors == []
    assert (rate.room, rate.board, rate.price, rate.currency, rate.refundable) == (
        "Double Suite", Board.HALF_BOARD, "799.00", "GBP", True)
    assert rate.expires_at == dt.datetime(2027, 1, 10, 12, 42, 19, 882_000, dt.UTC)
    assert mapping.key_of(rate).rate_id == "rat_0000BTVRuKZTavzrZDJ4cb"


@pytest.mark.parametrize(("change", "refundable"), [
    (("2027-02-20T12:00:00Z", "2027-01-10T11:59:00Z"), False),  # half of it is not all of it
    (('"refund_amount": "799.00"', '"refund_amount": 799'), True),
    (('"refund_amount": "799.00"', '"refund_amount": "798.99"'), False),
])
def test_refundable_is_what_gives_everything_back_now(
    change: tuple[str, str], refundable: bool
) -> None:
    (rate,), _ = read(change)
    assert rate.refundable is refundable


def test_an_amount_as_a_number_is_exact_as_well() -> None:
    (rate,), _ = read(('"total_amount": "799.00"', '"total_amount": 799.3'))
    assert rate.price == "799.30"


@pytest.mark.parametrize("change", [
    ('"total_amount"', '"totalamount"'), ('"799.00", "total_currency"', 'null, "total_currency"'),
    ('"total_currency": "GBP"', '"total_currency": "pounds"'),
    ('"rat_0000BTVRuKZTavzrZDJ4cb"', "1"), ('"refund_amount": "399.50"', '"refund_amount": []'),
    ('"refund_amount": "799.00"', '"refund_amount": "NaN"'),
    ("2027-01-10T12:42:19.882Z", "soon"), ('"refund_amount": "399.50"', '"refund_amount": null'),
    ('"name": "Double Suite"', '"nme": "Double Suite"'), ('"rates": [', '"rates": null, "x": ['),
])
def test_a_broken_rate_is_the_hotels_error(change: tuple[str, str]) -> None:
    rates, errors = read(change)
    assert (rates, errors) == ((), [("lisbon-1", "unreadable")])


def test_an_unknown_board_and_missing_extras_do_no_harm() -> None:
    (rate,), errors = read(('"half_board"', '"tea_time"'), ('"expires_at"', '"x"'),
                           ('"cancellation_timeline"', '"y"'), ('"quantity_available"', '"z"'))
    assert (rate.board, rate.expires_at, rate.refundable, errors) == (
        Board.UNKNOWN, None, False, [])
    assert read(('"quantity_available": 2', '"quantity_available": 0')) == ((), [])


def test_results_come_in_our_order_and_broken_ones_are_said() -> None:
    body = search(result("lisbon-3"), {"id": "srr"}, result("lisbon-9"), result("lisbon-1"),
                  {"id": "srr", "accommodation": {"id": "acc_x"}}, None)
    found = mapping.search_results(body, PART.hotel_ids)
    assert found.hotel_ids == PART.hotel_ids
    assert list(found.tickets.items()) == [
        ("lisbon-1", "srr_lisbon-1"), ("lisbon-3", "srr_lisbon-3")]
    assert told(found.errors) == [(None, "unreadable"), ("lisbon-9", "not_asked"),
                            (None, "unknown_hotel"), (None, "unreadable")]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": {}}', b'{"data": {"results": null}}',
                                  b'{"data": {"accommodation": {"rooms": 1}}}'])
def test_garbage_is_a_fault_that_can_be_tried_again(body: bytes) -> None:
    with pytest.raises(SupplierAway):
        mapping.search_results(body, PART.hotel_ids)
    with pytest.raises(SupplierAway):
        mapping.all_rates(body, "lisbon-1", 2, NOW)


def test_the_request_has_dates_guests_and_their_ids() -> None:
    sent: Any = mapping.search_request(QUERY, PART.hotel_ids)["data"]
    assert (str(sent["check_in_date"]), str(sent["check_out_date"])) == ("2027-03-01", "2027-03-04")
    assert sent["guests"] == [{"type": "adult"}] * 2
    assert sent["accommodation"]["ids"][0] == "acc_0000HB0000010001"


@pytest.mark.parametrize(("amount", "outcome"), [
    ('"799.00"', "available"), ("799", "available"), ('"799.01"', "price_changed"),
])
def test_a_quote_compares_by_value_and_is_what_is_booked(amount: str, outcome: str) -> None:
    (pinned,), _ = read()
    body = f'{{"data": {{"id": "quo_1", "total_amount": {amount}, "total_currency": "GBP"}}}}'
    check = mapping.quoted(body.encode(), pinned)
    assert check.outcome == outcome
    assert check.rate is not None
    holder = Holder(given_name="Ada", family_name="L", email="ada@example.org", phone="+44")
    sent: Any = mapping.booking_request(check.rate, holder, "REF")["data"]
    assert (sent["quote_id"], sent["phone_number"]) == ("quo_1", "+44")
    assert sent["metadata"] == {"client_reference": "REF"}
    with pytest.raises(SupplierAway):
        mapping.quoted(body.replace(amount, '"NaN"').encode(), pinned)


def test_an_error_document_is_one_word() -> None:
    assert mapping.refusal(b'{"errors": [{"code": "rate_unavailable", "type": "t"}]}') \
        == "rate_unavailable"
    assert mapping.refusal(b'{"errors": []}') == mapping.refusal(b"<html>") == ""


# --- cancelling -----------------------------------------------------------------------------------

KEY = "01JHANORDEROFTWENTYSIXCHAR"
BOOKING_ID = "bok_0000BTVRuKZTavzrZDJ4cb"
CANCEL = f"POST /stays/bookings/{BOOKING_ID}/actions/cancel"
LIST = "GET /stays/bookings"


def adapter(vendor: ScriptedVendor) -> DuffelStays:
    return DuffelStays(vendor.url, "duffel_test_token", terms())


def booking(status: str, own: str = KEY, booking_id: str = BOOKING_ID) -> dict[str, Any]:
    return {"id": booking_id, "reference": "1ARXWP", "status": status, "rooms": 1,
            "metadata": {"client_reference": own}, "email": "ada@example.org",
            "check_in_date": "2027-03-01", "check_out_date": "2027-03-04",
            "confirmed_at": "2027-01-09T10:00:00Z", "live_mode": False}


def page(*bookings: dict[str, Any], after: str | None = None) -> dict[str, Any]:
    return {"data": list(bookings), "meta": {"limit": 200, "before": None, "after": after}}


def others() -> list[dict[str, Any]]:
    """Bookings of others, in which nothing says ours."""
    return [booking("confirmed", "ANOTHER", "bok_1"), booking("confirmed", "", "bok_2") | {
        "metadata": None}, {"id": "bok_3", "status": "cancelled"}]


def test_a_booking_is_found_by_our_reference_on_any_page_and_cancelled_by_its_id(
    vendor: ScriptedVendor
) -> None:
    vendor.will_say((200, page(*others(), after="g2wAAAACbQ==")),
                    (200, page(*others(), booking("confirmed"), after="more")),
                    (200, {"data": booking("cancelled") | {"cancelled_at": "2027-01-10"}}))
    assert adapter(vendor).cancel(KEY, "ada@example.org", "1ARXWP") is True
    assert [one.query for one in vendor.asked] == [
        {"limit": "200"}, {"limit": "200", "after": "g2wAAAACbQ=="}, {}]
    assert {(one.headers["Authorization"], one.headers["Duffel-Version"])
            for one in vendor.asked} == {("Bearer duffel_test_token", "v2")}
    assert vendor.calls() == [LIST, LIST, CANCEL]


@pytest.mark.parametrize(("pages", "settled"), [
    ([page(booking("cancelled"))], True),
    ([page()], False),
    ([page(*others(), after="x"), page(*others())], False),
    ([{"data": []}], False),
])
def test_what_was_cancelled_before_is_said_to_be_and_what_is_unknown_is_not(
    vendor: ScriptedVendor, pages: list[dict[str, Any]], settled: bool
) -> None:
    vendor.will_say(*((200, one) for one in pages))
    assert adapter(vendor).cancel(KEY, "ada@example.org") is settled
    assert vendor.calls() == [LIST] * len(pages)


def test_a_list_without_an_end_is_given_up(vendor: ScriptedVendor) -> None:
    vendor.will_say(*[(200, page(*others(), after="again"))] * 50)
    with pytest.raises(SupplierAway, match="too many bookings"):
        adapter(vendor).cancel(KEY, "ada@example.org")


@pytest.mark.parametrize(("status", "said", "error"), [
    *FAULTS, (200, b'{"data": 1}', SupplierAway)])
def test_a_cancellation_without_a_clear_answer_is_a_fault_that_can_be_tried_again(
    vendor: ScriptedVendor, status: int, said: bytes, error: type[Exception]
) -> None:
    for before in ([], [(200, page(booking("confirmed")))]):
        vendor.will_say(*before, (status, said))
        with pytest.raises(error):
            adapter(vendor).cancel(KEY, "ada@example.org")


def test_a_cancellation_that_left_the_booking_as_it_was_is_no_success(
    vendor: ScriptedVendor
) -> None:
    vendor.will_say((200, page(booking("confirmed"))), (200, {"data": booking("confirmed")}))
    with pytest.raises(SupplierAway, match="did not cancel"):
        adapter(vendor).cancel(KEY, "ada@example.org")


def test_a_clear_no_is_one(vendor: ScriptedVendor) -> None:
    no = {"errors": [{"code": "not_cancellable", "type": "invalid_state_error"}]}
    vendor.will_say((200, page(booking("confirmed"))), (422, no))
    with pytest.raises(SupplierDeclined, match="status_422"):
        adapter(vendor).cancel(KEY, "ada@example.org")
