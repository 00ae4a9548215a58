"""The jobs of the booking road: frozen types, JSON on the list, decoded once at the edge.

Commands are imperative, reports of what happened are past tense. Every job carries `v`; a
consumer that meets a version above its own stops instead of guessing (see operations.md).
"""

from __future__ import annotations

import msgspec

from booking.model import Guest, Part, RateOffer, Reason
from errors import BrokenJob, NewerJob

# 2: orders of hotel rates.
VERSION = 2


class _Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    order_id: str
    v: int = VERSION


class PlaceOrder(_Job, frozen=True, tag="place_order"):
    """A customer's order, as the door accepted it."""

    package_id: int
    email: str
    accepted_ms: int


class PlaceRateOrder(_Job, frozen=True, tag="place_rate_order"):
    """A customer's order of a hotel rate, which is copied here: its search may expire."""

    rate: RateOffer
    email: str
    guest: Guest
    accepted_ms: int


class CancelOrder(_Job, frozen=True, tag="cancel_order"):
    """The customer wants the order undone."""


class ExpireHold(_Job, frozen=True, tag="expire_hold"):
    """A hold was seen past its end at `at_ms`."""

    at_ms: int


class ReservationConfirmed(_Job, frozen=True, tag="reservation_confirmed"):
    """Flight and room are booked; or, with the `supplier` of a rate, the stay alone."""

    hotel_reservation_number: str
    flight_ticket_number: str | None = None
    supplier: str = ""


class ReservationFailed(_Job, frozen=True, tag="reservation_failed"):
    """The reservation came to nothing. `may_exist` is what the supplier may still hold."""

    reason: Reason
    may_exist: tuple[Part, ...] = ()
    supplier: str = ""


class ReservationCompensated(_Job, frozen=True, tag="reservation_compensated"):
    """What was owed is cancelled at the supplier; tombstones stand there."""


Placing = PlaceOrder | PlaceRateOrder
Command = (
    PlaceOrder
    | PlaceRateOrder
    | CancelOrder
    | ExpireHold
    | ReservationConfirmed
    | ReservationFailed
    | ReservationCompensated
)


class Reserve(_Job, frozen=True, tag="reserve"):
    """Ask the supplier for flight and room."""

    flight: str
    stay: str


class ReserveStay(_Job, frozen=True, tag="reserve_stay"):
    """Check the pinned rate once more at its supplier, and book it."""

    rate: RateOffer


class Compensate(_Job, frozen=True, tag="compensate"):
    """Cancel at the supplier, in this order. A stay is cancelled at the named `supplier`."""

    parts: tuple[Part, ...]
    supplier: str = ""


ReservationJob = Reserve | ReserveStay | Compensate


class _Header(msgspec.Struct):
    v: int = 0


# What a decoder raises for bytes that are no job: bad JSON, bad UTF-8, endless nesting.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.json.Encoder()
_command_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_reservation_decoder: msgspec.json.Decoder[ReservationJob] = msgspec.json.Decoder(ReservationJob)
_header_decoder = msgspec.json.Decoder(_Header)


def encode(job: Command | ReservationJob) -> bytes:
    """The job as it stands on the list."""
    return _encoder.encode(job)


def decode_command(raw: bytes) -> Command:
    """Raises NewerJob (stop, do not touch it) or BrokenJob (no retry can mend it)."""
    try:
        job = _command_decoder.decode(raw)
    except _UNREADABLE as error:
        raise _unreadable(raw, error) from error
    if job.v > VERSION:
        raise _newer(job.v)
    return job


def decode_reservation_job(raw: bytes) -> ReservationJob:
    """Raises NewerJob or BrokenJob."""
    try:
        job = _reservation_decoder.decode(raw)
    except _UNREADABLE as error:
        raise _unreadable(raw, error) from error
    if job.v > VERSION:
        raise _newer(job.v)
    return job


def _newer(version: int) -> NewerJob:
    return NewerJob(f"a job of version {version}; this consumer knows versions up to {VERSION}")


def _unreadable(raw: bytes, error: Exception) -> NewerJob | BrokenJob:
    """A later version may well fail to decode: its number is looked at before its shape."""
    try:
        version = _header_decoder.decode(raw).v
    except _UNREADABLE:
        return BrokenJob(f"not a job: {error}")
    return _newer(version) if version > VERSION else BrokenJob(str(error))


class _OpenPlaceOrder(_Job, frozen=True, tag="place_order"):
    package_id: int
    email: str


class _OpenPlaceRateOrder(_Job, frozen=True, tag="place_rate_order"):
    rate: RateOffer
    email: str
    guest: Guest


def open_place_rate_order(order_id: str, rate: RateOffer, email: str, guest: Guest) -> bytes:
    """A PlaceRateOrder without its last member, as below."""
    job = _OpenPlaceRateOrder(order_id=order_id, rate=rate, email=email, guest=guest)
    return _encoder.encode(job).removesuffix(b"}") + b","


def open_place_order(order_id: str, package_id: int, email: str) -> bytes:
    """A PlaceOrder without its last member: accept.lua adds `"accepted_ms":N}` by its own clock."""
    job = _OpenPlaceOrder(order_id=order_id, package_id=package_id, email=email)
    return _encoder.encode(job).removesuffix(b"}") + b","
