"""decide(ledger, command, now_ms) -> outcome: every rule of an order's life, and nothing else.

No I/O and no clock: times come with the commands, `now_ms` only stamps the history. The same
ledger and the same commands give the same outcomes, which is what makes taking a batch again
after a crash harmless.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from booking.allotment import Ledger
from booking.commands import (
    CancelOrder,
    Command,
    ExpireHold,
    PlaceOrder,
    PlaceRateOrder,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
)
from booking.model import (
    LIVE,
    NO_PACKAGE,
    TRANSITIONS,
    Event,
    Order,
    Package,
    Part,
    Reason,
    State,
)


class Verdict(StrEnum):
    """What became of a command. Only APPLIED changes anything."""

    APPLIED = "applied"
    ALREADY_APPLIED = "already_applied"
    NOT_DUE = "not_due"
    UNKNOWN_ORDER = "unknown_order"


class Outcome(msgspec.Struct, frozen=True):
    """The verdict and the order as it stands after the command (None: there is no such order)."""

    verdict: Verdict
    order: Order | None


def decide(ledger: Ledger, command: Command, now_ms: int, *, hold_ms: int) -> Outcome:
    """What `command` does to the order it names. The ledger is read, not changed.

    `hold_ms` is how long a unit stays held for its reservation.
    """
    order = ledger.orders.get(command.order_id)
    match command:
        case PlaceOrder():
            if order is not None:
                return Outcome(Verdict.ALREADY_APPLIED, order)
            return Outcome(Verdict.APPLIED, _place(ledger, command, now_ms, hold_ms))
        case PlaceRateOrder():
            if order is not None:
                return Outcome(Verdict.ALREADY_APPLIED, order)
            return Outcome(Verdict.APPLIED, _place_rate(command, now_ms, hold_ms))
        case _ if order is None:
            return Outcome(Verdict.UNKNOWN_ORDER, None)
        case CancelOrder():
            if order.state not in LIVE:
                return Outcome(Verdict.ALREADY_APPLIED, order)
            return _end(order, State.CANCELLED, Reason.CUSTOMER_REQUEST, order.bookable, now_ms)
        case ExpireHold():
            if order.state is not State.HELD:
                return Outcome(Verdict.ALREADY_APPLIED, order)
            if order.hold_expires_ms is None or command.at_ms < order.hold_expires_ms:
                return Outcome(Verdict.NOT_DUE, order)
            return _end(order, State.EXPIRED, Reason.HOLD_EXPIRED, order.bookable, now_ms)
        case ReservationConfirmed():
            return _confirm(order, command, now_ms)
        case ReservationFailed():
            if order.state is State.HELD:
                return _end(order, State.FAILED, command.reason, command.may_exist, now_ms)
            return _late(order, command.may_exist, now_ms)
        case ReservationCompensated():
            if not order.owed:
                return Outcome(Verdict.ALREADY_APPLIED, order)
            cleared = msgspec.structs.replace(order, owed=(), owed_since_ms=None,
                                              compensated=True)
            return Outcome(Verdict.APPLIED, cleared)
    raise TypeError(f"no rule for {type(command).__name__}")


def _place(ledger: Ledger, command: PlaceOrder, now_ms: int, hold_ms: int) -> Order:
    package = ledger.packages.get(command.package_id)
    refusal = _refusal(package, command)
    unit = slot = None
    if package is not None and refusal is None:
        slot = ledger.next_slot(package, command.email)
        unit = ledger.next_unit(package)
        if slot is None and package.limit_per_customer is not None:
            refusal = Reason.LIMIT_REACHED
        elif unit is None:
            refusal = Reason.SOLD_OUT
    if package is None or refusal is not None:
        return Order(
            order_id=command.order_id,
            email=command.email,
            package_id=command.package_id,
            package=package.facts if package else None,
            state=State.REJECTED,
            reason=refusal,
            accepted_ms=command.accepted_ms,
            decided_ms=now_ms,
            history=(
                Event(State.QUEUED, None, command.accepted_ms),
                Event(State.REJECTED, refusal, now_ms),
            ),
        )
    return Order(
        order_id=command.order_id,
        email=command.email,
        package_id=command.package_id,
        package=package.facts,
        state=State.HELD,
        reason=None,
        accepted_ms=command.accepted_ms,
        decided_ms=now_ms,
        history=(
            Event(State.QUEUED, None, command.accepted_ms),
            Event(State.HELD, None, now_ms),
        ),
        unit=unit,
        slot=slot,
        quota_seen=package.quota,
        limit_seen=package.limit_per_customer,
        hold_expires_ms=now_ms + hold_ms,
    )


def _place_rate(command: PlaceRateOrder, now_ms: int, hold_ms: int) -> Order:
    """Held at once: a rate has no quota of ours, and its supplier has the last word."""
    return Order(
        order_id=command.order_id,
        email=command.email,
        package_id=NO_PACKAGE,
        package=None,
        state=State.HELD,
        reason=None,
        accepted_ms=command.accepted_ms,
        decided_ms=now_ms,
        history=(
            Event(State.QUEUED, None, command.accepted_ms),
            Event(State.HELD, None, now_ms),
        ),
        hold_expires_ms=now_ms + hold_ms,
        rate=command.rate,
        guest=command.guest,
    )


def _refusal(package: Package | None, command: PlaceOrder) -> Reason | None:
    """The sale window is judged by the moment of acceptance: queueing costs nobody a package."""
    if package is None:
        return Reason.UNKNOWN_PACKAGE
    if package.paused:
        return Reason.SALES_PAUSED
    starts, ends = package.sale_starts_ms, package.sale_ends_ms
    if starts is not None and command.accepted_ms < starts:
        return Reason.SALES_CLOSED
    if ends is not None and command.accepted_ms >= ends:
        return Reason.SALES_CLOSED
    return None


def _confirm(order: Order, command: ReservationConfirmed, now_ms: int) -> Outcome:
    if order.state is State.CONFIRMED:
        return Outcome(Verdict.ALREADY_APPLIED, order)
    if order.state is not State.HELD:
        return _late(order, order.bookable, now_ms)
    confirmed = _moved(order, State.CONFIRMED, None, now_ms)
    return Outcome(
        Verdict.APPLIED,
        msgspec.structs.replace(
            confirmed,
            hold_expires_ms=None,
            flight_ticket_number=command.flight_ticket_number,
            hotel_reservation_number=command.hotel_reservation_number,
        ),
    )


def _end(
    order: Order, state: State, reason: Reason, may_exist: tuple[Part, ...], now_ms: int
) -> Outcome:
    """End a live order: unit and slot go back in the same write that ends it, so exactly once."""
    ended = _moved(order, state, reason, now_ms)
    return Outcome(
        Verdict.APPLIED,
        msgspec.structs.replace(
            ended,
            unit=None,
            slot=None,
            hold_expires_ms=None,
            owed=_owing(order, may_exist),
            owed_since_ms=now_ms if may_exist else None,
        ),
    )


def _late(order: Order, may_exist: tuple[Part, ...], now_ms: int) -> Outcome:
    """A report after the order ended: what it brought is owed back, unless that is done already.

    Once compensated, tombstones at the supplier have refused or undone whatever the report speaks
    of, so a report delivered twice changes nothing.
    """
    if order.state in LIVE or not may_exist or order.owed or order.compensated:
        return Outcome(Verdict.ALREADY_APPLIED, order)
    owing = msgspec.structs.replace(order, owed=_owing(order, may_exist), owed_since_ms=now_ms)
    return Outcome(Verdict.APPLIED, owing)


def _owing(order: Order, may_exist: tuple[Part, ...]) -> tuple[Part, ...]:
    """All parts, as soon as one may exist. Whoever reports it knows only of its own tries: the
    same job may have gone on elsewhere, in a worker that slept or from a duplicate, and book the
    other part after it. A tombstone for what was never there costs nothing.
    """
    return order.bookable if may_exist else ()


def _moved(order: Order, state: State, reason: Reason | None, now_ms: int) -> Order:
    if state not in TRANSITIONS[order.state]:
        raise ValueError(f"an order cannot go from {order.state} to {state}")
    return msgspec.structs.replace(
        order, state=state, reason=reason, decided_ms=now_ms,
        history=(*order.history, Event(state, reason, now_ms)),
    )
