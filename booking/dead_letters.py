"""What could not be applied, kept whole until a person has looked at it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

import shapes
from booking.commands import VERSION, PlaceRateOrder, Placing
from booking.model import NO_PACKAGE, Event, Order, RateFacts, RateOffer, Reason, State

# As much as can be made out of bytes that are no job, or no JSON even.
_ORDER = re.compile(rb'"order_id"\s*:\s*"([0-9A-Z]{1,26})"')
_TYPE = re.compile(rb'"type"\s*:\s*"([a-z_]*)"')


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`job` is the job byte for byte; `source` the list it was on: jobs or reservations."""

    source: str
    job: bytes
    error: str
    deliveries: int
    at_ms: int
    v: int = VERSION


def encode(letter: DeadLetter) -> bytes:
    """The letter as it stands on the list."""
    return msgspec.json.encode(letter)


def decode(raw: bytes) -> DeadLetter:
    """The letter of a list item."""
    return shapes.decode(raw, DeadLetter)


def named_by(raw: bytes) -> tuple[str, str]:
    """Order and type of a job that may be unreadable; "" for what it does not name."""
    order, kind = _ORDER.search(raw), _TYPE.search(raw)
    return (order[1].decode() if order else "", kind[1].decode() if kind else "")


def buried_order(command: Placing, now_ms: int) -> Order:
    """How an order ends whose job could not be applied."""
    rate = guest = None
    package_id = NO_PACKAGE
    if isinstance(command, PlaceRateOrder):
        rate, guest = command.rate, command.guest
    else:
        package_id = command.package_id
    order = _rejected(command.order_id, command.email, package_id, command.accepted_ms, now_ms)
    return msgspec.structs.replace(order, rate=rate, guest=guest)


def order_of_status(order_id: str, status: Mapping[str, str], now_ms: int) -> Order | None:
    """The same for an order of which only the door's own notes are left; None when it took none.

    What a rate's supplier wants back stood in the job alone; nobody asks it for this order.
    """
    if status.get("state") != State.QUEUED:
        return None
    package_id = int(status.get("package_id") or NO_PACKAGE)
    accepted_ms = int(status["accepted_ms"])
    order = _rejected(order_id, status["email"], package_id, accepted_ms, now_ms)
    if "rate" not in status:
        return order
    facts = shapes.decode(status["rate"], RateFacts)
    return msgspec.structs.replace(order, rate=RateOffer(facts, vendor_key=""))


def _rejected(
    order_id: str, email: str, package_id: int, accepted_ms: int, now_ms: int
) -> Order:
    return Order(
        order_id=order_id,
        email=email,
        package_id=package_id,
        package=None,
        state=State.REJECTED,
        reason=Reason.INTERNAL_ERROR,
        accepted_ms=accepted_ms,
        decided_ms=now_ms,
        history=(
            Event(State.QUEUED, None, accepted_ms),
            Event(State.REJECTED, Reason.INTERNAL_ERROR, now_ms),
        ),
    )
