"""Documents of the per-hotel vendor -> rates. Pure: no call, no clock."""

from __future__ import annotations

from decimal import Decimal

import msgspec

import shapes
from errors import SupplierAway, SupplierDeclined
from suppliers import reading
from suppliers.http import IssuedToken
from suppliers.rates import (
    Board,
    FetchedChunk,
    Holder,
    Rate,
    RateQuery,
    Recheck,
    Unreadable,
    currency,
    price,
    rechecked,
)

NAME = "perhotel"
REFERENCE_MAX = 40
_LIFE_MAX_S = Decimal(86_400)

_BOARDS = {board.value: board for board in Board}


class _Room(msgspec.Struct):
    rate_id: str
    name: str
    price: Decimal
    board: str | None = None
    refundable: bool | None = None
    available: Decimal | None = None
    currency: str | None = None


class _Hotel(msgspec.Struct):
    hotel_id: str
    rooms: list[msgspec.Raw]
    currency: str | None = None


class _Checked(msgspec.Struct):
    status: str
    price: Decimal | None = None
    currency: str | None = None


class _Booked(msgspec.Struct):
    reference: str


class _Refusal(msgspec.Struct):
    error: str


class _Token(msgspec.Struct):
    access_token: str
    expires_in: Decimal


class Key(msgspec.Struct, frozen=True):
    """What recheck and booking need."""

    rate_id: str


def token(body: bytes) -> IssuedToken:
    """Answer of POST /oauth/token. Raises SupplierAway for garbage."""
    found = reading.document(body, _Token)
    value, life_s = found.access_token, found.expires_in
    # It goes into a header: a line break in it would write further ones.
    if not value or not value.isascii() or not value.isprintable() \
            or not life_s.is_finite() or life_s <= 0:
        raise SupplierAway("perhotel: a token that is none")
    return IssuedToken(value, float(min(life_s, _LIFE_MAX_S)))


def rates_query(query: RateQuery) -> dict[str, str]:
    """Parameters of GET /rates/{hotel_id}."""
    return {"check_in": query.check_in.isoformat(), "check_out": query.check_out.isoformat(),
            "guests": str(query.guests)}


def rates(body: bytes, hotel_id: str) -> FetchedChunk:
    """Answer of GET /rates/{hotel_id}. A document of another hotel is this hotel's error.

    Raises SupplierAway for garbage.
    """
    harvest = reading.Harvest(NAME, [hotel_id])
    hotel = reading.document(body, _Hotel)
    if hotel.hotel_id != hotel_id:
        harvest.fail(hotel_id, "unreadable", "the answer is about another hotel")
        return harvest.chunk(hotel_id)
    harvest.rates(hotel_id, hotel.rooms, _Room, lambda room: _rate(hotel_id, hotel, room))
    return harvest.chunk(hotel_id)


def _rate(hotel_id: str, hotel: _Hotel, room: _Room) -> Rate | None:
    if room.available == 0:
        return None
    code = room.currency or hotel.currency
    if code is None:
        raise Unreadable("a price without a currency")
    return Rate(
        hotel_id=hotel_id,
        supplier=NAME,
        room=reading.words(room.name),
        board=_BOARDS.get(room.board or "", Board.UNKNOWN),
        price=price(room.price, code),
        currency=currency(code),
        refundable=room.refundable is True,
        vendor_key=reading.vendor_key(Key(room.rate_id)),
    )


def checked(body: bytes, pinned: Rate) -> Recheck:
    """Answer of POST /rates/check for the rate `pinned`. Raises SupplierAway for garbage."""
    found = reading.document(body, _Checked)
    if found.status == "sold_out":
        return Recheck("sold_out")
    if found.price is None or found.currency is None:
        raise SupplierAway("perhotel: a recheck without a price")
    try:
        now = msgspec.structs.replace(pinned, price=price(found.price, found.currency),
                                      currency=currency(found.currency))
    except Unreadable as error:
        raise SupplierAway(f"perhotel: a recheck that is not understood: {error}") from error
    return rechecked(pinned, now)


def key_of(rate: Rate) -> Key:
    """What was put into the rate's `vendor_key`."""
    return shapes.decode(rate.vendor_key, Key)


def refusal(body: bytes) -> str:
    """The word of an error document; empty when it has none."""
    try:
        return reading.piece(body, _Refusal).error
    except Unreadable:
        return ""


def booking_request(rate: Rate, holder: Holder, reference: str) -> dict[str, object]:
    """Body of POST /bookings."""
    return {
        "rate_id": key_of(rate).rate_id,
        "price": rate.price,
        "currency": rate.currency,
        "reference": reference,
        "holder": {"given_name": holder.given_name, "family_name": holder.family_name,
                   "email": holder.email},
    }


def booked(body: bytes) -> str:
    """Answer of POST /bookings -> the vendor's reference."""
    reference = reading.document(body, _Booked).reference
    if not reference:
        raise SupplierDeclined("not_confirmed")
    return reference
