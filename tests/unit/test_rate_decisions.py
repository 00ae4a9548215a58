"""Orders of hotel rates: held without a unit, ended with their stay owed."""

from __future__ import annotations

import pytest

from booking.allotment import Ledger
from booking.batch import decide_batch
from booking.commands import (
    CancelOrder,
    Command,
    Compensate,
    ExpireHold,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    ReserveStay,
)
from booking.documents import order_change, order_document
from booking.model import NO_PACKAGE, STAY_ONLY, Order, Reason, State
from tests.rate_orders import OFFER, placed

BOOKED = ReservationConfirmed(order_id="A", hotel_reservation_number="N", supplier="perhotel")
FAILED = ReservationFailed(order_id="A", reason=Reason.PRICE_CHANGED, may_exist=STAY_ONLY,
                           supplier="perhotel")


def after(*commands: Command) -> tuple[Order, list[object]]:
    """The order and the last reservation jobs, one batch per command."""
    book = Ledger({})
    jobs: list[object] = []
    for command in commands:
        jobs = list(decide_batch(book, [command], 5_000, hold_ms=60_000).reservations)
    return book.orders["A"], jobs


def test_it_is_held_without_a_unit_and_asks_the_supplier_for_the_pinned_rate() -> None:
    order, jobs = after(placed())
    assert (order.state, order.unit, order.slot) == (State.HELD, None, None)
    assert order.package_id == NO_PACKAGE
    assert order.hold_expires_ms == 65_000
    assert jobs == [ReserveStay(order_id="A", rate=OFFER)]
    # Taken again after a crash, it asks again.
    again, more = after(placed(), placed())
    assert again == order
    assert more == jobs


def test_it_is_confirmed_by_the_number_of_the_supplier() -> None:
    order, jobs = after(placed(), BOOKED)
    assert order.state is State.CONFIRMED
    assert (order.flight_ticket_number, order.hotel_reservation_number) == (None, "N")
    assert jobs == []


@pytest.mark.parametrize(("end", "state"), [
    ([FAILED], State.FAILED),
    ([CancelOrder(order_id="A")], State.CANCELLED),
    ([BOOKED, CancelOrder(order_id="A")], State.CANCELLED),
    ([ExpireHold(order_id="A", at_ms=65_000)], State.EXPIRED),
    ([CancelOrder(order_id="A"), ReservationCompensated(order_id="A")], State.CANCELLED),
    ([ExpireHold(order_id="A", at_ms=65_000), BOOKED], State.EXPIRED),
], ids=range(6))
def test_whatever_ends_it_owes_its_stay_until_that_is_cancelled(
    end: list[Command], state: State
) -> None:
    order, jobs = after(placed(), *end)
    assert order.state is state
    if order.compensated:
        assert order.owed == ()
        assert jobs == []
    else:
        assert order.owed == STAY_ONLY
        assert jobs == [Compensate(order_id="A", parts=STAY_ONLY, supplier="perhotel")]


def test_a_report_for_an_order_that_nobody_knows_is_undone_at_its_supplier() -> None:
    for report in (BOOKED, FAILED):
        decided = decide_batch(Ledger({}), [report], 5_000, hold_ms=60_000)
        assert decided.reservations == [
            Compensate(order_id="A", parts=STAY_ONLY, supplier="perhotel")]


def test_two_orders_confirmed_in_one_batch_keep_their_own_numbers() -> None:
    held, _ = after(placed())
    confirmed, _ = after(placed(), BOOKED)
    change = order_change(held, confirmed)
    assert change.twin is None
    assert change.update["$set"]["hotel_reservation_number"] == "N"
    assert "unit" not in order_document(confirmed)
