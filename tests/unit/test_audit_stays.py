"""The audit of stays: each defect planted in a book or an order; none where nothing is wrong."""

from __future__ import annotations

from typing import Any, cast

import pytest

from audit.documents import Snapshot
from audit.findings import Findings
from audit.orders import OrderRules
from audit.stays import check_stays
from audit.supplier import Stay
from booking.documents import order_document
from booking.model import Order
from suppliers.http import reference
from tests.rate_orders import placed
from tests.unit.test_rate_decisions import BOOKED, FAILED, after

ID = "01JD8YV6S2Q0M5W3ZK7C4T9XRB"
LATER, EARLIER = "01JD8YV6S2Q0M5W3ZK7C4T9XRC", "01AAAAAAAAAAAAAAAAAAAAAAAA"
STAY = Stay("perhotel", ID, "N", "120.0", "EUR", "booked")


def document(*commands: Any, **changes: Any) -> dict[str, Any]:
    order: Order = after(placed(), *commands)[0]
    return {**order_document(order), "_id": ID, **changes}


def seen(orders: list[dict[str, Any]], stays: list[Stay]) -> tuple[int, list[str]]:
    class Still:
        def orders(self, _: object) -> list[dict[str, Any]]:
            return orders

    findings = Findings()
    earlier = check_stays(cast(Snapshot, Still()), stays, findings)
    return earlier, [str(kind) for kind, _ in findings._doubts]


def test_what_is_as_it_should_be() -> None:
    short = Stay("perhotel", reference(ID, 20), "N", "120.00", "EUR", "booked")
    for stay in (STAY, short):
        assert seen([document(BOOKED)], [stay]) == (0, [])
    assert seen([document()], [STAY]) == (0, [])  # held: its reservation is under way
    assert seen([document(FAILED)], [STAY]) == (0, [])  # owed
    gone = Stay("perhotel", ID, "N", "120.00", "EUR", "cancelled")
    assert seen([document(FAILED, owed=[])], [gone]) == (0, [])


@pytest.mark.parametrize(("order", "stays", "kinds"), [
    (document(BOOKED), [], ["supplier_missing"]),
    (document(BOOKED), [Stay("perhotel", ID, "N", "120", "EUR", "cancelled")],
     ["supplier_missing"]),
    (document(BOOKED), [Stay("perhotel", ID, "M", "120", "EUR", "booked")], ["supplier_missing"]),
    (document(BOOKED), [Stay("perhotel", ID, "N", "121", "EUR", "booked")], ["drifted"]),
    (document(BOOKED), [Stay("perhotel", ID, "N", "120", "USD", "booked")], ["drifted"]),
    (document(FAILED, owed=[]), [STAY], ["supplier_orphans"]),
    (document(BOOKED), [STAY, Stay("perhotel", LATER, "N", "1", "EUR", "booked")],
     ["supplier_orphans"]),
    (document(BOOKED), [STAY, Stay("ascenda", ID, "N", "1", "EUR", "booked")],
     ["supplier_orphans"]),
], ids=range(8))
def test_each_defect_is_found(order: dict[str, Any], stays: list[Stay], kinds: list[str]) -> None:
    assert seen([order], stays) == (0, kinds)


def test_bookings_from_before_a_reset_are_counted_apart() -> None:
    old = Stay("perhotel", EARLIER, "N", "1", "EUR", "booked")
    hashed = Stay("hotelbeds", reference(EARLIER, 20), "N", "1", "EUR", "booked")
    assert seen([document(BOOKED)], [STAY, old, hashed]) == (2, [])


@pytest.mark.parametrize(("changes", "kind"), [
    ({"unit": "1:1"}, "drifted"),
    ({"slot": "1:a@example.org:1"}, "drifted"),
    ({"package_id": 1}, "drifted"),
    ({"hotel_reservation_number": None}, "supplier_missing"),
], ids=lambda value: str(value))
def test_a_document_that_cannot_be_is_found(changes: dict[str, Any], kind: str) -> None:
    rules = OrderRules({}, owed_before_ms=0, hold_ended_ms=0)
    assert list(rules.defects(document(BOOKED))) == []
    assert [str(found) for found, _ in rules.defects(document(BOOKED, **changes))] == [kind]


def test_a_stay_owed_for_too_long_is_overdue() -> None:
    rules = OrderRules({}, owed_before_ms=10**13, hold_ended_ms=0)
    owing = document(FAILED)
    owing["owed_since"] = 5
    assert [str(found) for found, _ in rules.defects(owing)] == ["owed_overdue"]
