"""Duffel Stays documents -> rates. Pure: no call, no clock."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

import shapes
from errors import SupplierAway, SupplierDeclined
from suppliers import reading
from suppliers.places.hotel_ids import DUFFEL_STAYS
from suppliers.rates import (
    Board,
    FetchedChunk,
    Holder,
    Opened,
    Rate,
    RateQuery,
    Recheck,
    Unreadable,
    currency,
    price,
    rechecked,
)

NAME = "duffel_stays"
REFERENCE_MAX = 40
CANCELLED = "cancelled"

_BOARDS = {"room_only": Board.ROOM_ONLY, "breakfast": Board.BREAKFAST,
           "half_board": Board.HALF_BOARD, "full_board": Board.FULL_BOARD,
           "all_inclusive": Board.ALL_INCLUSIVE}  # fmt: skip


class _Refund(msgspec.Struct):
    before: dt.datetime
    refund_amount: Decimal


class _Rate(msgspec.Struct):
    id: str
    total_amount: Decimal
    total_currency: str
    board_type: str | None = None
    cancellation_timeline: list[_Refund] | None = None
    quantity_available: Decimal | None = None
    expires_at: dt.datetime | None = None


class _Room(msgspec.Struct):
    name: str
    rates: list[msgspec.Raw]


class _AccommodationId(msgspec.Struct):
    id: str


class _Rooms(msgspec.Struct):
    rooms: list[msgspec.Raw]


class _WithRates(msgspec.Struct):
    accommodation: _Rooms


class _AllRates(msgspec.Struct):
    data: _WithRates


class _Result(msgspec.Struct):
    id: str
    accommodation: _AccommodationId


class _Results(msgspec.Struct):
    results: list[msgspec.Raw]


class _Search(msgspec.Struct):
    data: _Results


class _Quote(msgspec.Struct):
    id: str
    total_amount: Decimal
    total_currency: str


class _Quoted(msgspec.Struct):
    data: _Quote


class _Booking(msgspec.Struct):
    reference: str


class _Booked(msgspec.Struct):
    data: _Booking


class ListedBooking(msgspec.Struct):
    """One of our bookings, as the list has it."""

    id: str
    status: str
    metadata: dict[str, str] | None = None


class _Cancelled(msgspec.Struct):
    data: ListedBooking


class _Cursor(msgspec.Struct):
    after: str | None = None


class _Listed(msgspec.Struct):
    data: list[ListedBooking]
    meta: _Cursor = msgspec.field(default_factory=_Cursor)


class _Error(msgspec.Struct):
    code: str


class _Refusal(msgspec.Struct):
    errors: list[_Error]


class Key(msgspec.Struct, frozen=True):
    """What recheck and booking need. `quote_id` comes with the recheck."""

    rate_id: str
    guests: int
    quote_id: str = ""


def search_request(query: RateQuery, hotel_ids: tuple[str, ...]) -> dict[str, object]:
    """Body of POST /stays/search. Hotels that Duffel does not know are left out."""
    ids = [their_id for hotel_id in hotel_ids if (their_id := DUFFEL_STAYS.theirs(hotel_id))]
    return {"data": {
        "check_in_date": query.check_in,
        "check_out_date": query.check_out,
        "rooms": 1,
        "guests": [{"type": "adult"}] * query.guests,
        "accommodation": {"ids": ids, "fetch_rates": False},
    }}


def search_results(body: bytes, hotel_ids: tuple[str, ...]) -> Opened:
    """Answer of POST /stays/search. A ticket is the id of the hotel's result.

    Tickets are in the order of `hotel_ids`, whatever Duffel's was. Raises SupplierAway for garbage.
    """
    harvest = reading.Harvest(NAME, hotel_ids)
    found: dict[str, str] = {}
    for raw in reading.document(body, _Search).data.results:
        try:
            result = reading.piece(raw, _Result)
        except Unreadable as error:
            harvest.fail(None, "unreadable", str(error))
            continue
        hotel_id = DUFFEL_STAYS.ours(result.accommodation.id)
        if hotel_id is None:
            harvest.fail(None, "unknown_hotel", f"the supplier's hotel {result.accommodation.id}")
        elif hotel_id not in hotel_ids:
            harvest.fail(hotel_id, "not_asked", "answered without having been asked for")
        else:
            found[hotel_id] = result.id
    ordered = {hotel_id: found[hotel_id] for hotel_id in hotel_ids if hotel_id in found}
    return Opened(hotel_ids, ordered, harvest.chunk("").errors)


def all_rates(body: bytes, hotel_id: str, guests: int, now: dt.datetime) -> FetchedChunk:
    """Answer of fetch_all_rates for one hotel. Raises SupplierAway for garbage."""
    harvest = reading.Harvest(NAME, [hotel_id])
    for raw in reading.document(body, _AllRates).data.accommodation.rooms:
        try:
            room = reading.piece(raw, _Room)
        except Unreadable as error:
            harvest.fail(hotel_id, "unreadable", str(error))
            continue
        harvest.rates(hotel_id, room.rates, _Rate,
                      lambda found, room=room: _rate(  # type: ignore[misc]
                          hotel_id, room, found, guests, now))
    return harvest.chunk(hotel_id)


def _rate(hotel_id: str, room: _Room, found: _Rate, guests: int, now: dt.datetime) -> Rate | None:
    if found.quantity_available == 0:
        return None
    return Rate(
        hotel_id=hotel_id,
        supplier=NAME,
        room=reading.words(room.name),
        board=_BOARDS.get(found.board_type or "", Board.UNKNOWN),
        price=price(found.total_amount, found.total_currency),
        currency=currency(found.total_currency),
        # A step of the timeline that gives only a part back does not make a rate refundable.
        refundable=any(step.refund_amount >= found.total_amount
                       and reading.aware(step.before) > now
                       for step in found.cancellation_timeline or ()),
        vendor_key=reading.vendor_key(Key(found.id, guests)),
        expires_at=None if found.expires_at is None else reading.aware(found.expires_at),
    )


def quoted(body: bytes, pinned: Rate) -> Recheck:
    """Answer of POST /stays/quotes for the rate `pinned`. Raises SupplierAway for garbage."""
    quote = reading.document(body, _Quoted).data
    fresh = msgspec.structs.replace(key_of(pinned), quote_id=quote.id)
    try:
        now = msgspec.structs.replace(
            pinned, price=price(quote.total_amount, quote.total_currency),
            currency=currency(quote.total_currency), vendor_key=reading.vendor_key(fresh))
    except Unreadable as error:
        raise SupplierAway(f"duffel_stays: a quote that is not understood: {error}") from error
    return rechecked(pinned, now)


def key_of(rate: Rate) -> Key:
    """What was put into the rate's `vendor_key`."""
    return shapes.decode(rate.vendor_key, Key)


def refusal(body: bytes) -> str:
    """The code of the first error of an error document; empty when it has none."""
    try:
        errors = reading.piece(body, _Refusal).errors
    except Unreadable:
        return ""
    return errors[0].code if errors else ""


def booking_request(rate: Rate, holder: Holder, reference: str) -> dict[str, object]:
    """Body of POST /stays/bookings."""
    return {"data": {
        "quote_id": key_of(rate).quote_id,
        "email": holder.email,
        "phone_number": holder.phone,
        "guests": [{"given_name": holder.given_name, "family_name": holder.family_name}],
        "metadata": {"client_reference": reference},
    }}


def booked(body: bytes) -> str:
    """Answer of POST /stays/bookings -> the reference that the hotel knows."""
    booking = reading.document(body, _Booked).data
    if not booking.reference:
        raise SupplierDeclined("not_confirmed")
    return booking.reference


def cancelled(body: bytes) -> bool:
    """Answer of POST /stays/bookings/{id}/actions/cancel -> whether it is cancelled now."""
    return reading.document(body, _Cancelled).data.status == CANCELLED


def booked_under(body: bytes, reference: str) -> tuple[ListedBooking | None, str]:
    """Answer of GET /stays/bookings -> ours of this page if it is there, and the next cursor."""
    listed = reading.document(body, _Listed)
    found = next((booking for booking in listed.data
                  if (booking.metadata or {}).get("client_reference") == reference), None)
    return found, listed.meta.after or ""
