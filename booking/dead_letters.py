"""What could not be applied, kept whole until a person has looked at it."""

from __future__ import annotations

import msgspec

from booking.commands import VERSION, PlaceRateOrder, Placing
from booking.model import NO_PACKAGE, Event, Order, Reason, State


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
    return msgspec.json.decode(raw, type=DeadLetter)


def buried_order(command: Placing, now_ms: int) -> Order:
    """How an order ends whose job could not be applied."""
    rate = guest = None
    package_id = NO_PACKAGE
    if isinstance(command, PlaceRateOrder):
        rate, guest = command.rate, command.guest
    else:
        package_id = command.package_id
    return Order(
        order_id=command.order_id,
        email=command.email,
        package_id=package_id,
        rate=rate,
        guest=guest,
        package=None,
        state=State.REJECTED,
        reason=Reason.INTERNAL_ERROR,
        accepted_ms=command.accepted_ms,
        decided_ms=now_ms,
        history=(
            Event(State.QUEUED, None, command.accepted_ms),
            Event(State.REJECTED, Reason.INTERNAL_ERROR, now_ms),
        ),
    )
